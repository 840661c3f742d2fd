"""What more labels would buy: the chance of a certificate and the coverage to expect, with two and four times as many.

The scores of the dev, calibration and test rows stand for the traffic: samples of the larger sizes are drawn from them
with replacement and go through the real tests. The student is held fixed, though more labels would make a better one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from training.data.advice import price
from training.data.sizes import Goal, shares
from training.evaluation.certificate import Sample, certify_goal
from training.evaluation.scored import Served

FACTORS = (1, 2, 4)
DRAWS = 200


def more_labels(judging: Sequence[Served], labels: int, goal: Goal) -> list[dict[str, Any]]:
    """For n, 2n and 4n `labels`: the chance of a certificate at the goal's target, and the mean coverage.

    `judging` are the rows that judge, as served at that target; `goal.delta` is what the next look may spend.
    """
    scores = np.concatenate([part.scores for part in judging])
    correct = np.concatenate([part.correct for part in judging])
    rng = np.random.default_rng(0)
    return [_grown(scores, correct, labels * factor, labels, goal, rng) for factor in FACTORS]


def _grown(
    scores: np.ndarray, correct: np.ndarray, labels: int, now: int, goal: Goal, rng: np.random.Generator
) -> dict[str, Any]:
    found = [certify_goal(*pair, goal).accept_above for pair in redrawn((scores, correct), labels, goal, rng)]
    coverages = [0.0 if above is None else float((scores > above).mean()) for above in found]
    certified = float(np.mean(np.array(coverages) > 0))
    return {"labels": labels, "usd": price(labels - now), "chance": certified, "coverage": float(np.mean(coverages))}


def judging_rows(labels: int, goal: Goal) -> tuple[int, int]:
    """How many of so many labels are dev and calibration rows, where training divides them."""
    _, dev, calibration, _ = (round(part * labels) for part in shares(labels, goal))
    return dev, calibration


def redrawn(
    pool: Sample, labels: int, goal: Goal, rng: np.random.Generator, draws: int = DRAWS
) -> Iterator[tuple[Sample, Sample]]:
    """Samples of dev and calibration as they would be of so many labels, drawn from `pool` with replacement."""
    for _ in range(draws):
        i, j = (rng.integers(0, len(pool[0]), size) for size in judging_rows(labels, goal))
        yield (pool[0][i], pool[1][i]), (pool[0][j], pool[1][j])
