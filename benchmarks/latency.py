"""Latency of a whole `predict(text)`, beside sentence-transformers and the transformers pipeline, in one run.

    python -m benchmarks.latency [--bundle models/clinc150] [--data DIR]

Every contender gets one thread and the same queries, one at a time, in turns of 50 queries, so that a noisy machine is
noisy for all and nobody pays for the caches that another has filled.
"without exit" is the same bundle whose student sees every text that no rule answers. `--alone` leaves the others out.
sentence-transformers encodes with the embedded all-MiniLM-L6-v2 and a logistic regression over the same number of
intents follows; the pipeline is transformers' text-classification on the same encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from inference.classifier import Classifier
from training.evaluation.report import machine

BLOCK = 50
TOKENS = (4, 8, 16, 32, 64, 128)
COLD_START = """
import time
start = time.perf_counter()
from inference import Classifier
Classifier.load({bundle!r}).predict("where is my order")
print(time.perf_counter() - start)
"""


def contenders(classifier: Classifier) -> dict[str, Callable[[str], object]]:
    import torch

    torch.set_num_threads(1)
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from training.student.model import resolve_base

    base = resolve_base("all-MiniLM-L6-v2").location
    encoder = SentenceTransformer(base, device="cpu")
    intents = len(classifier.labels)
    # Latency does not depend on the weights, so the regression is fitted to noise.
    noise = np.random.default_rng(0).normal(size=(4 * intents, 384))
    regression = LogisticRegression(max_iter=20, tol=1.0).fit(noise, np.arange(4 * intents) % intents)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=intents)
    classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(base), device="cpu")
    return {
        "sentence-transformers + LR": lambda text: regression.predict_proba(encoder.encode([text])),
        "transformers pipeline": classify,
    }


def without_exit(classifier: Classifier) -> Classifier:
    """The same bundle at the same target, with thresholds as they are, but no exit."""
    manifest = classifier.bundle.manifest
    certificates = tuple(replace(certificate, exit_above=None) for certificate in manifest.certificates)
    return classifier.at(manifest.target, replace(manifest, certificates=certificates))


def time_in_turns(calls: dict[str, Callable[[str], object]], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Milliseconds per text for each contender."""
    for call in calls.values():
        for text in texts[:20]:
            call(text)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for first in range(0, len(texts), BLOCK):
        for name, call in calls.items():
            for text in texts[first : first + BLOCK]:
                start = time.perf_counter()
                call(text)
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def by_length(classifier: Classifier) -> list[tuple[int, float]]:
    """Median milliseconds for texts of a given number of tokens."""
    rows = []
    for tokens in TOKENS:
        text = "refund " * (tokens - 1)
        times = time_in_turns({"": classifier.predict}, [text] * 100)[""]
        rows.append((tokens, float(np.median(times))))
    return rows


def cold_start(bundle: str, runs: int = 5) -> float:
    """Seconds from `import inference` to the first answer, in a fresh interpreter; the median of some runs."""
    command = [sys.executable, "-c", COLD_START.format(bundle=bundle)]
    return float(
        np.median([float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(runs)])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="models/clinc150")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--files", nargs="+", default=["test.jsonl"], help="of --data, whose texts are mixed")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--alone", action="store_true", help="time this project alone")
    arguments = parser.parse_args()
    files = [arguments.data / name for name in arguments.files]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    texts = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))[: arguments.texts]]
    classifier = Classifier.load(arguments.bundle)
    calls: dict[str, Callable[[str], object]] = {"monoku predict": classifier.predict}
    calls["monoku without exit"] = without_exit(classifier).predict
    times = time_in_turns(calls | ({} if arguments.alone else contenders(classifier)), texts)
    ours = np.median(times["monoku predict"])
    print(f"{machine()}, one thread, {len(texts)} queries of {arguments.data.name}, in turns\n")
    print(f"{'':<28}{'p50 ms':>8}{'p95 ms':>8}{'mean ms':>9}{'p50 / ours':>12}")
    for name, values in times.items():
        p50, p95 = np.percentile(values, (50, 95))
        print(f"{name:<28}{p50:>8.3f}{p95:>8.2f}{values.mean():>9.3f}{p50 / ours:>12.1f}")
    exits = np.mean([classifier.predict(text).source == "exit" for text in texts])
    print(f"\nthe exit answers {exits:.1%} of the queries")
    print("\n" + "".join(f"{tokens:>8} tokens" for tokens in TOKENS))
    print("".join(f"{milliseconds:>12.2f} ms" for _, milliseconds in by_length(classifier)))
    print(f"\ncold start (import, load, first answer): {cold_start(arguments.bundle):.2f} s")


if __name__ == "__main__":
    main()
