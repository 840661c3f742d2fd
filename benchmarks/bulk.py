"""Texts per second of `inference.bulk` beside a loop of `predict`: python -m benchmarks.bulk --bundle B --data FILE...

The loop is one process with the model loaded; the command's time is counted from its start, loading included, and its
memory is the largest of its processes'. With --rows the texts are repeated until there are so many. With --engine ray
the command runs with the processes of this machine and with a Ray cluster on it, in turns, for 1 worker and for
--workers: compared is what they do once begun, which is after the seconds that one text takes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from inference.classifier import Classifier
from training.evaluation.report import machine

ENGINES = ("processes", "ray")


def texts_of(files: Sequence[Path]) -> list[str]:
    """The `text` of every line."""
    return [json.loads(line)["text"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def looped(bundle: str, texts: Sequence[str]) -> float:
    """Seconds that one process takes for one text after the other."""
    classifier = Classifier.load(bundle)
    classifier.predict(texts[0])
    began = time.perf_counter()
    for text in texts:
        classifier.predict(text)
    return time.perf_counter() - began


def bulk(bundle: str, texts: Sequence[str], workers: int, engine: str = "processes") -> tuple[float, float]:
    """Seconds that the command takes, and megabytes of its largest process so far."""
    with tempfile.TemporaryDirectory() as home:
        given, out = Path(home, "in.jsonl"), Path(home, "out.jsonl")
        with given.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))
        command = [sys.executable, "-m", "inference.bulk", str(given), "--bundle", bundle, "--out", str(out)]
        began = time.perf_counter()
        who = ["--workers", str(workers), "--engine", engine]
        subprocess.run([*command, *who], check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        with out.open(encoding="utf-8") as file:
            if [json.loads(line)["id"] for line in file] != list(range(len(texts))):
                raise SystemExit("a row is lost, doubled or out of order")
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def beside(bundle: str, texts: Sequence[str], workers: int, rounds: int) -> str:
    """What Ray does beside the processes with as many workers: the least seconds of the rounds count."""
    starts: dict[str, float] = {}
    rates: dict[str, float] = {}
    for _ in range(rounds):
        for engine in ENGINES:
            start = bulk(bundle, texts[:1], workers, engine)[0]
            rate = len(texts) / (bulk(bundle, texts, workers, engine)[0] - start)
            starts[engine] = min(start, starts.get(engine, start))
            rates[engine] = max(rate, rates.get(engine, rate))
    shown = ", ".join(f"{engine} {rates[engine]:,.0f} texts/s after {starts[engine]:.1f} s" for engine in ENGINES)
    return f"{workers} workers: {shown}; ratio {rates['ray'] / rates['processes']:.2f}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", default="models/support")
    parser.add_argument("--data", nargs="+", type=Path, required=True, help="JSON Lines with a field text")
    parser.add_argument("--rows", type=int, help="so many texts, repeated; the loop runs on those there are")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="the first 500 texts")
    parser.add_argument("--engine", choices=ENGINES, default="processes")
    parser.add_argument("--rounds", type=int, default=1, help="of --engine ray; the best of each engine count")
    arguments = parser.parse_args(argv)
    texts = texts_of(arguments.data)[: 500 if arguments.quick else None]
    many = list(itertools.islice(itertools.cycle(texts), arguments.rows or len(texts)))
    if arguments.engine == "ray":
        print(f"{machine()}; {len(many):,} texts, {arguments.rounds} rounds")
        for workers in sorted({1, arguments.workers}):
            print(beside(arguments.bundle, many, workers, arguments.rounds), flush=True)
        return 0
    loop = len(texts) / looped(arguments.bundle, texts)
    seconds, megabytes = bulk(arguments.bundle, many, arguments.workers)
    print(f"{machine()}; {len(many):,} texts, {arguments.workers} workers")
    print(f"loop of predict {loop:10,.0f} texts/s")
    print(
        f"inference.bulk  {len(many) / seconds:10,.0f} texts/s, {len(many) / seconds / loop:.2f} times the loop, ",
        end="",
    )
    print(f"{megabytes:.0f} MB the largest process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
