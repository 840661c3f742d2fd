"""What the cascade adds to the model: `Cascade.classify` answered locally beside `Classifier.predict`, and a cache hit.

    python -m benchmarks.hotpath [--bundle models/clinc150] [--data DIR]

Both get the same texts, each for the first time, one at a time on one thread, in turns of 50 whose order alternates;
then the same turn comes again and is answered from the memory of the process. Only texts that the student may answer
at the bundle's loosest certificate count. The decision log is on, in a temporary folder, and so is the uniform sample,
which a function labels in the background. Of several rounds, each with texts of its own, the best is judged: the lowest
median of each side, so that a busy machine harms neither.
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

BLOCK = 50
WARM_UP = 100
MOST_OVER = 0.05
MOST_HIT_US = 10.0
Times = dict[str, list[float]]  # microseconds


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


def time_block(cascade: Cascade, classifier: Classifier, texts: Sequence[str], cascade_first: bool) -> Times:
    """Times of one turn, without the texts that were not answered locally or, the second time, not from the cache."""
    calls: list[Callable[[str], Any]] = [classifier.predict, cascade.classify]
    order = (1, 0) if cascade_first else (0, 1)
    taken = {side: [timed(calls[side], text) for text in texts] for side in order}
    hits = [timed(cascade.classify, text) for text in texts]
    local = [is_local(answer) and again.cached for (answer, _), (again, _) in zip(taken[1], hits, strict=True)]
    sides = {"predict": taken[0], "classify": taken[1], "hit": hits}
    return {
        name: [us for (_, us), counts in zip(results, local, strict=True) if counts] for name, results in sides.items()
    }


def is_local(answer: Answer) -> bool:
    return answer.accepted and answer.source in ("exit", "student", "rules") and not answer.cached


def medians(cascade: Cascade, classifier: Classifier, texts: Sequence[str]) -> dict[str, float]:
    """The median times of one round in microseconds."""
    times: Times = {"predict": [], "classify": [], "hit": []}
    for number, first in enumerate(range(0, len(texts), BLOCK)):
        block = time_block(cascade, classifier, texts[first : first + BLOCK], number % 2 == 1)
        for name, values in block.items():
            times[name] += values
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(bundle: str, texts: Sequence[str], rounds: int, home: Path) -> list[dict[str, float]]:
    target = loosest_target(Classifier.load(bundle))
    classifier = Classifier.load(bundle, target)
    texts = [text for text in texts if classifier.predict(text).accepted]
    policy = Policy(target=target, log=str(home / "decisions.db"), ledger=str(home / "spend.db"))
    with Cascade.load(bundle, lambda text: classifier.labels[0], policy=policy) as cascade:
        for text in texts[:WARM_UP]:
            cascade.classify(text)
        fresh = texts[WARM_UP:]
        size = len(fresh) // rounds // (2 * BLOCK) * 2 * BLOCK  # whole turns, as many in either order
        if size == 0:
            raise SystemExit(f"{len(fresh)} texts are too few for {rounds} rounds")
        found = [medians(cascade, classifier, fresh[n * size : (n + 1) * size]) for n in range(rounds)]
    print(f"{rounds} rounds of {size} fresh texts, accepted at {target:.0%}; sample {policy.sample_rate:.0%}, log on\n")
    return found


def show(name: str, row: dict[str, float]) -> None:
    added = row["classify"] - row["predict"]
    times = f"{row['predict'] / 1e3:>12.3f}{row['classify'] / 1e3:>13.3f}{added:>10.0f}"
    print(f"{name:<8}{times}{row['classify'] / row['predict'] - 1:>9.1%}{row['hit']:>10.1f}")


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
    print(f"{'p50':<8}{'predict ms':>12}{'classify ms':>13}{'added µs':>10}{'over':>9}{'hit µs':>10}")
    for number, row in enumerate(rounds, 1):
        show(f"{number}", row)
    show("median", {name: float(np.median([row[name] for row in rounds])) for name in rounds[0]})
    best = {name: min(row[name] for row in rounds) for name in rounds[0]}
    show("best", best)
    over = best["classify"] / best["predict"] - 1
    print(f"\nanswered locally: {over:.1%} over predict, at most {MOST_OVER:.0%}: {verdict(over <= MOST_OVER)}")
    print(f"cache hit: {best['hit']:.1f} µs, at most {MOST_HIT_US:.0f}: {verdict(best['hit'] <= MOST_HIT_US)}")


if __name__ == "__main__":
    main()
