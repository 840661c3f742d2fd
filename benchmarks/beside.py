"""A bundle beside other classifiers, each in a process of its own, one thread, the same texts one at a time.

    python -m benchmarks.beside --bundle models/clinc150 --data DIR/clinc150 [--home FOLDER] [--plot beside.svg]

What is fitted is kept in --home, so that a stopped run goes on. All learn from the train rows as they are, out-of-scope
ones included; accuracy is in scope. The cold start is from the first import to the first answer. SetFit serves as
"sentence-transformers + LR" does; model2vec and fastembed need weights from the network, and are not among them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CONTENDERS, Answer
from benchmarks.plots import points

OURS = "monoku"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
WARM_UP = 20


def rows_of(folder: Path, *stems: str) -> list[dict[str, str]]:
    """The rows of some files, those that are there."""
    # The other benchmarks' reader imports onnxruntime, which would be missing from the cold start.
    files = [folder / f"{stem}.jsonl" for stem in stems if (folder / f"{stem}.jsonl").is_file()]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def fitted(home: Path, name: str, rows: Sequence[dict[str, str]]) -> Path:
    """The folder of a contender, fitted to the rows unless it was before."""
    folder, draft = home / name.replace(" ", "-"), home / "draft"
    if not folder.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        CONTENDERS[name][0]([row["text"] for row in rows], [row["label"] for row in rows], draft)
        draft.rename(folder)
    return folder


def ours(bundle: Path) -> Answer:
    from inference.classifier import Classifier  # a part of the cold start

    classifier = Classifier.load(bundle)
    return lambda text: classifier.predict(text).intent


def timed(name: str, place: Path, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Milliseconds per text, accuracy and seconds of the cold start, in this process."""
    start = time.perf_counter()
    answer = ours(place) if name == OURS else CONTENDERS[name][1](place)
    answer(rows[0]["text"])
    cold = time.perf_counter() - start
    for row in rows[:WARM_UP]:
        answer(row["text"])
    milliseconds, right = [], []
    for row in rows:
        start = time.perf_counter()
        said = answer(row["text"])
        milliseconds.append((time.perf_counter() - start) * 1e3)
        right.append(said == row["label"])
    p50, p95 = np.percentile(milliseconds, (50, 95))
    accuracy = None if said is None else float(np.mean(right))
    return {"p50": p50, "p95": p95, "mean": float(np.mean(milliseconds)), "accuracy": accuracy, "cold": cold}


def apart(name: str, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """The least times of some rounds, each in a process of its own with one thread."""
    command = [sys.executable, "-m", "benchmarks.beside", "--one", name, "--bundle", str(place)]
    command += ["--data", str(arguments.data), "--texts", str(arguments.texts)]
    runs = []
    for _ in range(arguments.rounds):
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | ONE_THREAD)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    best = {key: min(run[key] for run in runs) for key in ("p50", "p95", "mean", "cold")}
    return best | {"accuracy": runs[0]["accuracy"], "bytes": size(name, place)}


def size(name: str, place: Path) -> int:
    """The bytes of what a classifier loads."""
    files = _ours(place) if name == OURS else place.rglob("*")
    return sum(path.stat().st_size for path in files if path.is_file())


def _ours(place: Path) -> list[Path]:
    from inference.bundle.manifest import EXIT, MODEL, TOKENIZER, resolve  # above it would be out of the cold start

    return [resolve(place) / part for part in (MODEL, TOKENIZER, EXIT)]


def shown(found: dict[str, dict[str, Any]]) -> str:
    """The table of all classifiers."""
    lines = [f"{'':<28}{'p50 ms':>8}{'p95 ms':>8}{'mean ms':>9}{'texts/s':>9}{'accuracy':>10}{'MB':>7}{'cold s':>8}"]
    for name, row in found.items():
        accuracy = "" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        lines.append(
            f"{name:<28}{row['p50']:>8.3f}{row['p95']:>8.2f}{row['mean']:>9.3f}{1000 / row['mean']:>9,.0f}"
            f"{accuracy:>10}{row['bytes'] / 1e6:>7.0f}{row['cold']:>8.2f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, default=Path("models/clinc150"))
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--home", type=Path, default=Path("models/.beside"), help="a folder that keeps what was fitted")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2, help="the least time of each counts")
    parser.add_argument("--quick", action="store_true", help="a fifteenth of the rows to fit to, 200 texts, one round")
    parser.add_argument("--plot", type=Path, help="an SVG file: accuracy over time per text")
    parser.add_argument("--others", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--one", choices=[OURS, *CONTENDERS], help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.quick:
        arguments.texts, arguments.rounds = 200, 1
    test = rows_of(arguments.data, "test")
    test = [test[i] for i in np.random.default_rng(0).permutation(len(test))[: arguments.texts]]
    if arguments.one:
        print(json.dumps(timed(arguments.one, arguments.bundle, test)))
        return 0
    from training.evaluation.report import machine

    train = rows_of(arguments.data, "train", "oos_train")[:: 15 if arguments.quick else 1]
    places = {OURS: arguments.bundle} | {name: fitted(arguments.home, name, train) for name in arguments.others}
    found = {name: apart(name, place, arguments) for name, place in places.items()}
    print(f"{machine()}, one thread, {len(test)} queries of {arguments.data.name}/test\n\n{shown(found)}")
    if arguments.plot:
        known = {name: (row["mean"], row["accuracy"]) for name, row in found.items() if row["accuracy"] is not None}
        labels = ("milliseconds per text, mean", "accuracy in scope")
        points(arguments.plot, "Accuracy over the time of a text, one thread", labels, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
