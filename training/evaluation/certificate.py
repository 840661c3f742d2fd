"""Calibrate: a temperature from dev, and the acceptance thresholds with their certificates from calibration.

Promise: with probability at least 1 - delta over the calibration sample, among the queries that the bundle's Classifier
accepts (a rule fires, the exit is sure, or the student's score > threshold) the answer agrees with the reference at
least `target` of the time. A row that a rule or the exit answers has the score inf, so it is accepted at every
threshold; one whose answer is an intent that is never accepted has -inf. The exit's own threshold comes from dev.
An intent with a target of its own has a certificate of its own: the promise is then about the accepted answers that
name it, and the pooled certificates are about the answers that name no such intent. Each such intent has an equal part
of delta; one more is the pooled certificates', who share it.

Method: Learn-Then-Test with fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei 2021). The candidate
thresholds, their order and the start come from dev alone, so the calibration sample is asked one question at a time and
each may be tested at the full delta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from inference.bundle.manifest import Certificate, IntentCertificate
from training.data.sizes import MOST_OF_DELTA, Goal
from training.evaluation.statistics import binomial_p_value

TARGETS = (0.90, 0.95, 0.97, 0.99)
CANDIDATES = 800  # most of them between two dev scores: steps as fine as the calibration rows (docs/LOG.md)
# The smallest dev p-value is a noisy choice. The strictest threshold whose p-value is nearly as small fails less often
# as the first of the sequence (docs/LOG.md).
NEARLY = 2.0
RULES_ALONE = 1.0  # no probability exceeds it
Sample = tuple[np.ndarray, np.ndarray]  # of each row the score, and whether its answer agrees with the reference


def thresholds_to_test(dev_scores: np.ndarray, dev_correct: np.ndarray, target: float) -> list[float]:
    """Candidate thresholds in the order of testing, from dev alone: the surest first, then ever looser."""
    student = dev_scores[np.isfinite(dev_scores)]
    levels = np.array([RULES_ALONE] if (dev_scores == np.inf).any() else [])
    if len(student):
        quantiles = np.quantile(student, np.linspace(0, 1, CANDIDATES, endpoint=False))
        levels = np.unique(np.concatenate([quantiles, levels]))
    if not len(levels):
        return []
    # A threshold under every score accepts everything but the intents that are never accepted.
    candidates = np.concatenate([[np.nextafter(levels[0], -np.inf)], levels])[::-1]
    p_values = _p_values(candidates, dev_scores, dev_correct, target)
    start = int(np.argmax(p_values <= NEARLY * p_values.min()))
    return [float(threshold) for threshold in candidates[start:]]


def _p_values(thresholds: np.ndarray, scores: np.ndarray, correct: np.ndarray, target: float) -> np.ndarray:
    """The p-value of each threshold, shape (thresholds,): small means that the accepted are wrong less than allowed."""
    accepted = _above(thresholds, scores)
    return binomial_p_value(_above(thresholds, scores[~correct]), accepted, 1 - target)


def _above(thresholds: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How many scores exceed each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right")


def certify(
    order: Sequence[float], calibration_scores: np.ndarray, calibration_correct: np.ndarray, target: float, delta: float
) -> Certificate:
    """Test the thresholds of `order` on the calibration sample; the last pass before the first failure is certified.

    `calibration_scores` are confidences, inf where a rule answers, `calibration_correct` whether the answer agreed with
    the reference. Where not even the first threshold passes, `accept_above` is None: everything is deferred, whether a
    rule fires or not.
    """
    return _certificate(order, [(calibration_scores, calibration_correct)], target, delta)


def certify_intent(
    intent: str, order: Sequence[float], calibration: Sequence[Sample], target: float, delta: float
) -> IntentCertificate:
    """The certificate of an intent with a target of its own, whichever certificate serves beside it.

    `calibration` has the sample as served at each of these, with the score -inf where the answer names another intent.
    A threshold passes only where it does in every one: the largest of the p-values is one that they all keep their
    target, so nothing is spent on their number. The figures are of the first.
    """
    found = _certificate(order, calibration, target, delta)
    scores, correct = calibration[0]
    # Never accepted, and so never counted as named, where too few rows of it are known.
    named = int((scores > -np.inf).sum())
    lacks = 0 if found.accept_above is not None else _fewest_lacking(order, scores, correct, target, delta)
    return IntentCertificate(**asdict(found), intent=intent, named=named, lacks=lacks)


def _fewest_lacking(
    order: Sequence[float], scores: np.ndarray, correct: np.ndarray, target: float, delta: float
) -> int:
    """The fewest further right answers with which any of the thresholds would pass."""
    thresholds = np.array([np.inf, *order])
    accepted, errors = _above(thresholds, scores), _above(thresholds, scores[~correct])
    loosest = {int(e): int(a) for e, a in zip(errors, accepted, strict=True)}  # of those with as many errors
    return min(lacking(e, a, target, delta) for e, a in loosest.items())


def _certificate(order: Sequence[float], samples: Sequence[Sample], target: float, delta: float) -> Certificate:
    """The last threshold before the first failure in any sample; its figures are those of the first sample."""
    p_values = np.max([_p_values(np.array(order), *sample, target) for sample in samples], axis=0)
    failed = p_values > delta
    passes = int(np.argmax(failed)) if failed.any() else len(order)
    if not passes:
        return Certificate(target, delta, None)
    scores, correct = samples[0]
    accepted = scores > order[passes - 1]
    return Certificate(
        target,
        delta,
        order[passes - 1],
        coverage=float(accepted.mean()),
        agreement=float(correct[accepted].mean()),
        accepted=int(accepted.sum()),
    )


def lacking(errors: int, accepted: int, target: float, delta: float) -> int:
    """How many more right answers would have passed the test."""
    low, high = 0, 1
    while binomial_p_value(errors, accepted + high, 1 - target) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        passes = binomial_p_value(errors, accepted + middle, 1 - target) <= delta
        low, high = (low, middle) if passes else (middle, high)
    return high


def certify_goal(dev: Sample, calibration: Sample, goal: Goal) -> Certificate:
    """The certificate at the goal's target, where `goal.delta` is what the look may spend on all targets together."""
    order = thresholds_to_test(*dev, goal.target)
    return certify(order, *calibration, goal.target, delta_shares(goal.delta, goal.target)[goal.target])


def delta_shares(delta: float, target: float) -> dict[float, float]:
    """What each certificate may spend of `delta`, by its target: most of it for `target`, the rest for TARGETS."""
    others = [other for other in TARGETS if other != target]
    shares = dict.fromkeys(others, (1 - MOST_OF_DELTA) * delta / len(others)) | {target: MOST_OF_DELTA * delta}
    return dict(sorted(shares.items()))
