"""Is the certificate's promise kept? Many draws from a pool of real scores whose own risk is the truth.

    python -m benchmarks.certificate [--draws 1000] [--bundle models/clinc150 --data DIR]

The pool holds the scores of a bundle on a file of labelled rows (CLINC150 val, test and out-of-scope test by default;
the data is published by clinc/oos-eval). Each draw takes a dev and a calibration sample with replacement, certifies,
and looks up the threshold's risk on the whole pool. "naive" takes the loosest threshold whose empirical error passes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inference.classifier import Classifier
from training.evaluation.certificate import TARGETS, certify, thresholds_to_test

SIZES = ((500, 1500), (2000, 5000), (8000, 20000))  # dev and calibration rows of a draw
DELTA = 0.05 / 4


class Pool:
    """Scores and correctness sorted by score, so that risk and coverage of any threshold are one look-up."""

    def __init__(self, scores: np.ndarray, correct: np.ndarray) -> None:
        order = np.argsort(-scores, kind="stable")
        self.scores, self.correct = scores[order], correct[order]
        self.errors = np.concatenate([[0], np.cumsum(~self.correct)])

    def risk_and_coverage(self, threshold: float) -> tuple[float, float]:
        accepted = int(np.searchsorted(-self.scores, -threshold, side="left"))
        return float(self.errors[accepted] / max(accepted, 1)), accepted / len(self.scores)

    def oracle_coverage(self, target: float) -> float:
        """The largest coverage of any threshold whose risk in the pool keeps the target."""
        counts = np.arange(1, len(self.scores) + 1)
        last_of_ties = np.append(self.scores[1:] != self.scores[:-1], True)
        good = (self.errors[1:] / counts <= 1 - target) & last_of_ties
        return float(counts[good].max() / len(self.scores)) if good.any() else 0.0

    def draw(self, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        index = rng.integers(0, len(self.scores), size)
        return self.scores[index], self.correct[index]


def naive_threshold(scores: np.ndarray, correct: np.ndarray, target: float) -> float | None:
    """The loosest threshold whose empirical agreement reaches the target."""
    sample = Pool(scores, correct)
    coverage = sample.oracle_coverage(target)
    accepted = round(coverage * len(scores))
    return None if accepted == 0 else float(np.nextafter(sample.scores[accepted - 1], -np.inf))


def simulate(pool: Pool, target: float, sizes: tuple[int, int], draws: int, seed: int) -> dict[str, float]:
    """How often the promise is broken, and the mean coverage beside the oracle's, over `draws` draws."""
    rng = np.random.default_rng(seed)
    broken = naive_broken = 0
    coverages = []
    for _ in range(draws):
        order = thresholds_to_test(*pool.draw(rng, sizes[0]), target)
        sample = pool.draw(rng, sizes[1])
        threshold = certify(order, *sample, target, DELTA).accept_above
        risk, coverage = (0.0, 0.0) if threshold is None else pool.risk_and_coverage(threshold)
        naive = naive_threshold(*sample, target)
        broken += risk > 1 - target
        naive_broken += naive is not None and pool.risk_and_coverage(naive)[0] > 1 - target
        coverages.append(coverage)
    oracle = pool.oracle_coverage(target)
    return {
        "broken": broken / draws,
        "naive": naive_broken / draws,
        "coverage": float(np.mean(coverages)),
        "oracle": oracle,
        "share": float(np.mean(coverages)) / oracle if oracle else float("nan"),
    }


def read_rows(folder: Path, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        for line in (folder / name).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield row["text"], row["label"]


def real_pool(bundle: str, folder: Path, files: tuple[str, ...]) -> Pool:
    classifier = Classifier.load(bundle)
    scores, correct = [], []
    for text, label in read_rows(folder, files):
        prediction = classifier.predict(text)
        scores.append(math.inf if prediction.source == "rules" else prediction.confidence)
        correct.append(prediction.intent == label)
    return Pool(np.array(scores), np.array(correct))


def with_noise(pool: Pool, share: float) -> Pool:
    """The same pool judged by a reference that is wrong on a random `share` of rows."""
    flipped = np.random.default_rng(0).random(len(pool.scores)) < share
    return Pool(pool.scores, pool.correct ^ flipped)


def broken_allowed(runs: int) -> float:
    """The share of runs that may break the promise: delta and two standard errors."""
    return DELTA + 2 * math.sqrt(DELTA * (1 - DELTA) / runs)


def parse_with_pool(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Pool]:
    """The arguments, and the pool of real scores that three of them name."""
    parser.add_argument("--bundle", default="models/clinc150")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--files", nargs="+", default=["val.jsonl", "test.jsonl", "oos_test.jsonl"])
    arguments = parser.parse_args()
    return arguments, real_pool(arguments.bundle, arguments.data, tuple(arguments.files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    arguments, pool = parse_with_pool(parser)
    bound = broken_allowed(arguments.draws)
    print(f"{arguments.draws} draws from {len(pool.scores)} scores, delta {DELTA:.4f} a target")
    print(f"the promise is kept if it is broken in at most {bound:.4f} of the draws\n")
    print(
        f"{'reference':<13}{'calibration':>12}{'target':>8}{'broken':>9}{'naive':>8}{'coverage':>10}{'oracle':>8}{'share':>8}"
    )
    for name, judged in (("as labelled", pool), ("2 % noise", with_noise(pool, 0.02))):
        for sizes in SIZES:
            for target in TARGETS:
                row = simulate(judged, target, sizes, arguments.draws, seed=1)
                promise = f"{row['broken']:>9.4f}{row['naive']:>8.3f}"
                cover = f"{row['coverage']:>10.3f}{row['oracle']:>8.3f}{row['share']:>8.1%}"
                print(f"{name:<13}{sizes[1]:>12}{target:>8.2f}{promise}{cover}")


if __name__ == "__main__":
    main()
