"""How the time of an answer grows with its tokens, with the intents, and with threads and processes.

    python -m benchmarks.growth [--quick] [--out FILE]

The students are of the default base and settings, exported as training does it, with a head and an exit that learned
nothing: the time does not depend on the weights. Each time is the median of texts of random words, on one thread
unless it says otherwise. With --out a stopped run goes on.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import Cells
from benchmarks.latency import TOKENS, time_in_turns
from benchmarks.spawned import together
from inference.bundle.exit import BITS, Exit
from inference.bundle.manifest import EXIT, TAXONOMY, Bundle, Manifest
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from training.evaluation.report import machine
from training.student import export, model
from training.student.config import Config
from training.student.exit import MOST_BYTES
from training.student.narrow import narrow

WORDS = ("order", "card", "please", "where", "cancel", "my", "the", "open", "change", "pay", "house", "when")
INTENTS, THREADS, PROCESSES = (5, 50, 151, 500, 1000), (1, 2), (1, 2, 4)
SHORT, MANY = 12, 151  # tokens and intents where another thing grows


class Size(NamedTuple):
    """How much is measured: texts a cell, and seconds of every process."""

    texts: int = 300
    seconds: float = 5.0


def texts(tokens: int, count: int) -> list[str]:
    """Texts of so many tokens, the one at the beginning included; each word is one."""
    rng = random.Random(tokens)
    return [" ".join(rng.choices(WORDS, k=tokens - 1)) for _ in range(count)]


def made(folder: Path, intents: int) -> Path:
    """The files of a bundle for so many intents, in a folder of its own."""
    home = folder / str(intents)
    if home.is_dir():
        return home
    import torch

    home.mkdir()
    taxonomy, config = _taxonomy(intents), Config()
    student, tokenizer = model.load_base(model.resolve_base(config.base), taxonomy.names, config.max_tokens)
    narrow(student.encoder, config.feed_forward_share, [torch.tensor(tokenizer(texts(SHORT, 64))["input_ids"])])
    export.write_model(student, tokenizer, home, texts(SHORT, 64))
    (home / TAXONOMY).write_text(taxonomy.to_toml(), encoding="utf-8")
    rng = np.random.default_rng(0)
    known = min(MOST_BYTES // intents, np.iinfo(np.uint16).max)
    rows = rng.integers(0, known, 1 << BITS).astype(np.uint16)
    weights = rng.integers(-127, 128, (known, intents)).astype(np.int8)
    (home / EXIT).write_bytes(Exit(rows, weights, 0.01, 1.0).to_bytes())
    return home


def _taxonomy(intents: int) -> Taxonomy:
    return Taxonomy.of([f"intent {number}" for number in range(intents)])


def opened(home: Path, threads: int = 1) -> Classifier:
    """The classifier of a folder of `made`."""
    manifest = Manifest(labels=_taxonomy(int(home.name)).names, max_tokens=Config().max_tokens, redactor="none")
    return Classifier(Bundle.draft(home, manifest), threads=threads)


def median(call: Callable[[str], object], asked: Sequence[str]) -> float:
    """Milliseconds of the median text."""
    return float(np.median(time_in_turns({"": call}, asked)[""]))


def one(home: Path, tokens: int, threads: int, size: Size) -> dict[str, Any]:
    """Milliseconds of the student and of the exit, for texts of so many tokens; megabytes of the model."""
    classifier, asked = opened(home, threads), texts(tokens, size.texts)
    return {
        "student ms": median(classifier.probabilities, asked),
        "exit ms": median(classifier.exit_probabilities, asked),
        "MB": (len(classifier.bundle.model) + len(classifier.bundle.exit or b"")) / 1e6,
    }


def rate(number: int, meet: Callable[[], None], home: Path, seconds: float) -> float:
    """Texts per second of one of several processes, the student's alone."""
    classifier, asked = opened(home), texts(SHORT, 100)
    classifier.probabilities(asked[0])
    meet()
    start, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        classifier.probabilities(asked[done % len(asked)])
        done += 1
    return done / passed


def rows(folder: Path, size: Size, done: Cells) -> Iterator[str]:
    """The lines of the table."""
    grown = [("tokens", tokens, MANY, tokens, 1) for tokens in TOKENS]
    grown += [("intents", intents, intents, SHORT, 1) for intents in INTENTS]
    grown += [("threads", threads, MANY, tokens, threads) for tokens in (SHORT, 64) for threads in THREADS]
    for name, value, intents, tokens, threads in grown:
        settings = {"intents": intents, "tokens": tokens, "threads": threads, **size._asdict()}
        figures = done.run(settings, lambda i=intents, t=tokens, n=threads: one(made(folder, i), t, n, size))
        told = "".join(f"{figure:>10.3f}" for figure in figures.values())
        yield f"{name:<10}{value:>6}{intents:>9} intents{tokens:>5} tokens{told}"
    for count in PROCESSES:
        settings = {"processes": count, **size._asdict()}
        found = done.run(settings, lambda n=count: {"rates": together(n, rate, made(folder, MANY), size.seconds)})
        yield f"{'processes':<10}{count:>6}{sum(found['rates']):>12,.0f} texts/s by the student, all together"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a file that keeps finished cells")
    parser.add_argument("--quick", action="store_true", help="few texts")
    arguments = parser.parse_args(argv)
    size = Size(20, 0.2) if arguments.quick else Size()
    print(f"{machine()}\n\n{'':<45}{'student ms':>10}{'exit ms':>10}{'MB':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for line in rows(Path(folder), size, Cells(arguments.out)):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
