"""Calibrate: a temperature from dev, and the acceptance thresholds with their certificates from calibration.

Promise: with probability at least 1 - delta over the calibration sample, among the queries that the bundle's Classifier
accepts (a rule fires, or the student's score > threshold) the answer agrees with the reference at least `target` of the
time. A row that a rule answers has the score inf, so it is accepted at every threshold; one whose answer is an intent
that is never accepted has -inf.

Method: Learn-Then-Test with fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei 2021). The candidate
thresholds, their order and the start come from dev alone, so the calibration sample is asked one question at a time and
each may be tested at the full delta.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.bundle.manifest import Certificate
from training.data.sizes import MOST_OF_DELTA
from training.evaluation.statistics import binomial_p_value

TARGETS = (0.90, 0.95, 0.97, 0.99)
CANDIDATES = 40
RULES_ALONE = 1.0  # no probability exceeds it


def thresholds_to_test(dev_scores: np.ndarray, dev_correct: np.ndarray, target: float) -> list[float]:
    """Candidate thresholds in the order of testing, from dev alone: the surest first, then ever looser."""
    ruled = dev_scores == np.inf
    student = dev_scores[np.isfinite(dev_scores)]
    levels = np.array([RULES_ALONE] if ruled.any() else [])
    if len(student):
        quantiles = np.quantile(student, np.linspace(0, 1, CANDIDATES, endpoint=False), method="lower")
        levels = np.unique(np.concatenate([quantiles, levels]))
    if not len(levels):
        return []
    # A threshold under every score accepts everything but the intents that are never accepted.
    candidates = np.concatenate([[np.nextafter(levels[0], -np.inf)], levels])[::-1]
    p_values = [_p_value(dev_scores, dev_correct, threshold, target) for threshold in candidates]
    start = int(np.argmin(p_values))
    return [float(threshold) for threshold in candidates[start:]]


def _p_value(scores: np.ndarray, correct: np.ndarray, threshold: float, target: float) -> float:
    accepted = scores > threshold
    return binomial_p_value(int((~correct[accepted]).sum()), int(accepted.sum()), 1 - target)


def certify(
    order: Sequence[float], calibration_scores: np.ndarray, calibration_correct: np.ndarray, target: float, delta: float
) -> Certificate:
    """Test the thresholds of `order` on the calibration sample; the last pass before the first failure is certified.

    `calibration_scores` are confidences, inf where a rule answers, `calibration_correct` whether the answer agreed with
    the reference. Where not even the first threshold passes, `accept_above` is None: everything is deferred, whether a
    rule fires or not.
    """
    passed: float | None = None
    for threshold in order:
        if _p_value(calibration_scores, calibration_correct, threshold, target) > delta:
            break
        passed = threshold
    if passed is None:
        return Certificate(target, delta, None)
    accepted = calibration_scores > passed
    return Certificate(
        target,
        delta,
        passed,
        coverage=float(accepted.mean()),
        agreement=float(calibration_correct[accepted].mean()),
        accepted=int(accepted.sum()),
    )


def delta_shares(delta: float, target: float) -> dict[float, float]:
    """What each certificate may spend of `delta`, by its target: most of it for `target`, the rest for TARGETS."""
    others = [other for other in TARGETS if other != target]
    shares = dict.fromkeys(others, (1 - MOST_OF_DELTA) * delta / len(others)) | {target: MOST_OF_DELTA * delta}
    return dict(sorted(shares.items()))
