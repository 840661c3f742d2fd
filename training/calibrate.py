"""Calibrate: a temperature from dev, and the acceptance thresholds with their certificates from calibration.

Promise: with probability at least 1 - delta over the calibration sample, among the queries that the bundle's local tier
accepts (a rule fires, or the student's score > threshold) the answer agrees with the reference at least `target` of the
time. A row that a rule answers has the score inf, so it is accepted at every threshold.

Method: Learn-Then-Test with fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei 2021). The candidate
thresholds, their order and the start come from dev alone, so the calibration sample is asked one question at a time and
each may be tested at the full delta.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inference.bundle import Certificate

TARGETS = (0.90, 0.95, 0.97, 0.99)
CANDIDATES = 40
RULES_ALONE = 1.0  # no probability exceeds it


def log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean log-probability of the labels after dividing the logits by the temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(1, keepdims=True)
    return float((scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(1))).mean())


def fit_temperature(dev_logits: np.ndarray, dev_labels: np.ndarray) -> float:
    """The temperature in [0.05, 20] that makes dev likeliest (Guo et al. 2017), by golden-section search.

    `dev_logits` has shape (rows, labels); log-probabilities do as well, for they are logits.
    """
    low, high = math.log(0.05), math.log(20.0)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if log_likelihood(dev_logits, dev_labels, math.exp(left)) > log_likelihood(
            dev_logits, dev_labels, math.exp(right)
        ):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def binomial_p_value(errors: int, accepted: int, most: float) -> float:
    """P(at most `errors` errors among `accepted`) if the true error rate were `most`: small means surely lower."""
    if accepted == 0:
        return 1.0
    log_odds = math.log(most) - math.log1p(-most)
    term = accepted * math.log1p(-most)
    total = 0.0
    for k in range(errors + 1):
        total += math.exp(term)
        term += math.log((accepted - k) / (k + 1)) + log_odds if k < accepted else 0.0
    return min(1.0, total)


def thresholds_to_test(dev_scores: np.ndarray, dev_correct: np.ndarray, target: float) -> list[float]:
    """Candidate thresholds in the order of testing, from dev alone: the surest first, then ever looser."""
    ruled = np.isinf(dev_scores)
    levels = np.array([RULES_ALONE] if ruled.any() else [])
    if not ruled.all():
        quantiles = np.quantile(dev_scores[~ruled], np.linspace(0, 1, CANDIDATES, endpoint=False), method="lower")
        levels = np.unique(np.concatenate([quantiles, levels]))
    # A threshold under every score accepts everything.
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


def lineage_delta(delta: float, version: int) -> float:
    """What version `version` (1, 2, …) of a lineage may spend: 6·delta / (π²·version²), which adds up to delta."""
    if version < 1:
        raise ValueError(f"versions count from 1, got {version}")
    return 6 * delta / (math.pi**2 * version**2)


def certificates(
    dev: tuple[np.ndarray, np.ndarray],
    calibration: tuple[np.ndarray, np.ndarray],
    delta: float,
    targets: Sequence[float] = TARGETS,
) -> tuple[Certificate, ...]:
    """The certificates for `targets`; TARGETS share `delta` equally. Each pair is (scores, correct)."""
    share = delta / len(TARGETS)
    return tuple(certify(thresholds_to_test(*dev, target), *calibration, target, share) for target in targets)
