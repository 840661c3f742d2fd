"""A refresh half-way through the replay: is the promise kept in the second half, on traffic unlike the base data?

    python -m benchmarks.relearned [--data ../shared/data/clinc150] [--requests 20000] [--sample-rate 0.2] [--epochs 3]

The stream is that of `benchmarks.replay`: Zipf-distributed, with far more out-of-scope requests than the data that
certified the first bundle. The first half is played with a bundle that was trained on the data alone; then
`training.refresh` labels what has no answer yet, trains, calibrates on the sample of the first half and judges; the
second half is played with whatever serves then. The sample's rate is high, so that ten
thousand requests are enough; the teacher is the gold label.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import beta

from benchmarks.certificate import read_rows
from benchmarks.replay import Request, make_stream, record
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.serving.policy import Policy
from training.evaluation.report import machine
from training.lifecycle.options import Options
from training.lifecycle.pipeline import train
from training.lifecycle.round import refresh
from training.student.config import Config


def half(home: Path, stream: list[Request], target: float, rate: float, folder: Path) -> tuple[int, int]:
    """Play a part of the stream: how many answers were accepted locally, and how many of them were right."""
    record(stream, Classifier.load(home, target), folder / "teacher.jsonl")
    policy = Policy(target=target, sample_rate=rate, log=str(folder / "log.db"), ledger=str(folder / "spend.db"))
    with Cascade.load(home, f"recorded:{folder / 'teacher.jsonl'}", policy=policy) as cascade:
        answers = [cascade.classify(request.text) for request in stream]
    local = [
        answer.intent == request.gold
        for answer, request in zip(answers, stream, strict=True)
        if answer.accepted and answer.source in ("exit", "student", "rules")
    ]
    return len(local), sum(local)


def told(name: str, accepted: int, right: int, requests: int, target: float) -> str:
    """One line: coverage, agreement and its 95 % interval."""
    low, high = beta.ppf([0.025, 0.975], [right, right + 1], [accepted - right + 1, max(accepted - right, 1e-9)])
    word = "kept" if high >= target else "BROKEN"
    share = right / max(accepted, 1)
    return f"{name:<42}{accepted / requests:>9.1%}{share:>9.1%}   [{low:.1%}, {high:.1%}]  {word} at {target:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--sample-rate", type=float, default=0.2)
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--noisy-copies", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, help="keep the models here, and begin with the one that is there")
    arguments = parser.parse_args()
    gold = dict(read_rows(arguments.data, ("test.jsonl", "oos_test.jsonl")))
    stream, n = make_stream(gold, arguments.requests, seed=arguments.seed), arguments.requests // 2
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(sys.stderr):
        folder, models = Path(place), (arguments.models or Path(place) / "models").absolute()
        # The texts of the stream are no base data: only train and val files judge the first bundle.
        (folder / "base").mkdir()
        for name in ("train.jsonl", "val.jsonl", "oos_train.jsonl", "oos_val.jsonl"):
            shutil.copy(arguments.data / name, folder / "base" / name)
        settings = {"target": arguments.target, "epochs": arguments.epochs, "seed": arguments.seed}
        settings |= {"noisy_copies": arguments.noisy_copies}
        config = Config(data=str(folder / "base"), name="replayed", models=str(models), **settings)
        if not (config.home / "current").is_file():
            train(config)
        before = half(config.home, stream[:n], arguments.target, arguments.sample_rate, folder)
        # Calls for the sample that were under way as the cascade closed have no answer: they are asked again.
        teacher = f"recorded:{folder / 'teacher.jsonl'}"
        summary = refresh(config, Options(log=str(folder / "log.db"), teacher=teacher))
        after = half(config.home, stream[n:], arguments.target, arguments.sample_rate, folder)
    print(f"{machine()}; {2 * n} requests, sample rate {arguments.sample_rate:g}, {arguments.epochs} epochs\n")
    print(f"{'':<42}{'accepted':>9}{'right':>9}")
    print(told("first half, certified on the data", *before, n, arguments.target))
    print(told(f"second half, refresh: {summary.outcome}", *after, n, arguments.target))
    for what, count in summary.chosen.items():
        print(f"  {count:>7} {what}")
    for reason in summary.reasons:
        print(f"  {reason}")


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
