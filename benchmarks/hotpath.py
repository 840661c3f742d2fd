"""What the cascade adds to the model: `Cascade.classify` answered locally beside `Classifier.predict`, and a cache hit.

    python -m benchmarks.hotpath [--bundle models/clinc150] [--data DIR]

Both get the same texts, each for the first time, one at a time on one thread: every text is a pair, one call right
after the other, in an order that alternates, so that a machine that is slow for a while harms neither. What the cascade
adds is the median over the differences of all pairs. Then the text comes again, right after the model ran, which has
pushed all else out of the processor's caches; and at the end of a round its texts come once more, hit after hit. Only
texts that the student may answer at the bundle's loosest certificate count. The decision log is on, in a temporary
folder, and so is the uniform sample, which a function labels in the background: as the student does, so that the watch
has no reason to suspend the promise.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.certificate import read_rows
from inference.cascade import Answer, Cascade
from inference.classifier import Classifier
from inference.serving.policy import Policy
from training.evaluation.report import machine

WARM_UP = 100
MOST_OVER = 0.05
MOST_HIT_US = 10.0
SIDES = ("predict", "classify", "added", "cold", "hit")
Times = dict[str, list[float]]  # by side, in microseconds


def loosest_target(classifier: Classifier) -> float:
    """The lowest target that the bundle is certified for. Raises SystemExit where there is none."""
    certified = [item.target for item in classifier.bundle.manifest.certificates if item.accept_above is not None]
    if not certified:
        raise SystemExit("the bundle has no certificate, so the student answers nothing")
    return min(certified)


def timed(call: Callable[[str], Any], text: str) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call(text)
    return result, (time.perf_counter() - start) * 1e6


def time_pair(cascade: Cascade, classifier: Classifier, text: str, cascade_first: bool) -> dict[str, float] | None:
    """The times of one text; None if it was not answered locally at first and from the cache then."""
    if cascade_first:
        (answer, classify), (_, predict) = timed(cascade.classify, text), timed(classifier.predict, text)
    else:
        (_, predict), (answer, classify) = timed(classifier.predict, text), timed(cascade.classify, text)
    again, cold = timed(cascade.classify, text)
    if not (is_local(answer) and again.cached):
        return None
    return {"predict": predict, "classify": classify, "added": classify - predict, "cold": cold}


def is_local(answer: Answer) -> bool:
    return answer.accepted and answer.source in ("exit", "student", "rules") and not answer.cached


def time_round(cascade: Cascade, classifier: Classifier, texts: Sequence[str]) -> Times:
    pairs = [time_pair(cascade, classifier, text, number % 2 == 1) for number, text in enumerate(texts)]
    hits = [timed(cascade.classify, text) for text in texts]
    times: Times = {side: [pair[side] for pair in pairs if pair is not None] for side in SIDES if side != "hit"}
    return {**times, "hit": [us for answer, us in hits if answer.cached]}


def measure(bundle: str, texts: Sequence[str], rounds: int, home: Path) -> list[Times]:
    target = loosest_target(Classifier.load(bundle))
    classifier = Classifier.load(bundle, target)
    guesses = {text: classifier.predict(text) for text in texts}
    texts = [text for text in texts if guesses[text].accepted]

    def teacher(text: str) -> str:
        return guesses[text].intent if text in guesses else classifier.labels[0]

    policy = Policy(target=target, log=str(home / "decisions.db"), ledger=str(home / "spend.db"))
    with Cascade.load(bundle, teacher, policy=policy) as cascade:
        for text in texts[:WARM_UP]:
            cascade.classify(text)
        fresh = texts[WARM_UP:]
        size = len(fresh) // (2 * rounds) * 2  # as many in either order
        if size == 0:
            raise SystemExit(f"{len(fresh)} texts are too few for {rounds} rounds")
        found = [time_round(cascade, classifier, fresh[n * size : (n + 1) * size]) for n in range(rounds)]
    print(f"{rounds} rounds of {size} fresh texts, accepted at {target:.0%}; sample {policy.sample_rate:.0%}, log on\n")
    return found


def medians(times: Times) -> dict[str, float]:
    return {side: float(np.median(times[side])) for side in SIDES}


def show(name: str, row: dict[str, float]) -> None:
    times = f"{row['predict'] / 1e3:>12.3f}{row['classify'] / 1e3:>13.3f}{row['added']:>10.0f}"
    print(f"{name:<8}{times}{row['added'] / row['predict']:>9.1%}{row['cold']:>10.1f}{row['hit']:>10.1f}")


def verdict(good: bool) -> str:
    return "met" if good else "missed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="models/clinc150")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    texts = list(dict.fromkeys(text for text, _ in read_rows(arguments.data, ("test.jsonl", "oos_test.jsonl"))))
    texts = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        rounds = measure(arguments.bundle, texts, arguments.rounds, Path(folder))
    print(f"{'p50':<8}{'predict ms':>12}{'classify ms':>13}{'added µs':>10}{'over':>9}{'cold µs':>10}{'hit µs':>10}")
    for number, times in enumerate(rounds, 1):
        show(f"{number}", medians(times))
    whole = medians({side: [us for times in rounds for us in times[side]] for side in SIDES})
    show("all", whole)
    over = whole["added"] / whole["predict"]
    print(f"\nanswered locally: {over:.1%} over predict, at most {MOST_OVER:.0%}: {verdict(over <= MOST_OVER)}")
    print(f"cache hit: {whole['hit']:.1f} µs, at most {MOST_HIT_US:.0f}: {verdict(whole['hit'] <= MOST_HIT_US)}")
    print(f"cache hit right after the model ran: {whole['cold']:.1f} µs")


if __name__ == "__main__":
    main()
