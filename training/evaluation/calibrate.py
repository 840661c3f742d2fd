"""Temperature and certificates of a draft bundle, from its dev and calibration rows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from inference.bundle.manifest import DEFAULT_TARGET, Certificate, Manifest
from inference.bundle.rules import measure
from inference.classifier import Classifier
from inference.log.counts import CONFIDENCE_BINS
from training.data.dataset import Dataset
from training.evaluation import certificate as calibrate
from training.evaluation.scored import Scored, Served, score, serve


def log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """Mean log-probability of the labels after dividing the logits by the temperature."""
    scaled = logits / temperature
    scaled = scaled - scaled.max(1, keepdims=True)
    return float((scaled[np.arange(len(labels)), labels] - np.log(np.exp(scaled).sum(1))).mean())


def fit_temperature(dev_logits: np.ndarray, dev_labels: np.ndarray) -> float:
    """The temperature in [0.05, 20] that makes dev likeliest (Guo et al. 2017).

    `dev_logits` has shape (rows, labels); log-probabilities do as well, for they are logits.
    """
    found = minimize_scalar(
        lambda log_temperature: -log_likelihood(dev_logits, dev_labels, math.exp(log_temperature)),
        bounds=(math.log(0.05), math.log(20.0)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return math.exp(found.x)


def calibrated(classifier: Classifier, data: Dataset, delta: float) -> tuple[Manifest, dict[str, Any]]:
    """The manifest with the temperature and the rules' confidences from dev, and the certificates from calibration.

    `classifier` is a draft's, at temperature 1. Also returns what live traffic is compared with later: the student's
    confidences and intents on the calibration rows.
    """
    raw = score(classifier, data.split("dev"))
    temperature = fit_temperature(np.log(np.maximum(raw.probabilities, 1e-300)), raw.reference)
    measured = measure(data.taxonomy.rules, [row.text for row in raw.rows], [row.label for row in raw.rows])
    # With the strictest certificates the classifier runs its rules as it will under those that are found.
    strictest = tuple(Certificate(target, delta, calibrate.RULES_ALONE) for target in calibrate.TARGETS)
    manifest = replace(classifier.bundle.manifest, temperature=temperature, rules=measured, certificates=strictest)
    classifier = classifier.at(DEFAULT_TARGET, manifest)
    scored = [score(classifier, data.split(name)) for name in ("dev", "calibration")]
    found: list[Certificate] = []
    for target in calibrate.TARGETS:
        dev, calibration = (_per_request(part, serve(classifier.at(target), part)) for part in scored)
        found += calibrate.certificates(dev, calibration, delta, (target,))
    return replace(manifest, certificates=tuple(found)), _reference(scored[1])


def _reference(calibration: Scored) -> dict[str, Any]:
    bins, _ = np.histogram(calibration.confidence, CONFIDENCE_BINS, (0, 1))
    mix = Counter(calibration.labels[i] for i in calibration.predicted)
    return {"confidence_histogram": bins.tolist(), "intent_mix": dict(mix)}


def _per_request(part: Scored, served: Served) -> tuple[np.ndarray, np.ndarray]:
    """Scores and correctness, a row once for every sampled request that it stands for (once where it is no traffic)."""
    times = [int(row.extra.get("requests", 1)) for row in part.rows]
    return np.repeat(served.scores, times), np.repeat(served.correct, times)
