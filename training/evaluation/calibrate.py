"""Temperature and certificates of a draft bundle, from its dev and calibration rows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from inference.bundle.manifest import Manifest
from inference.bundle.rules import measure
from inference.classifier import Classifier
from inference.log.counts import CONFIDENCE_BINS
from training.data.dataset import Dataset
from training.evaluation.certified import Serve, certified, strictest, uncertified, with_exits
from training.evaluation.exits import answers_of_exit
from training.evaluation.scored import Scored, score, serve


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


@dataclass(frozen=True)
class Calibration:
    """Dev and calibration rows, one trial each, as the tuned student scored them; and what live traffic is compared
    with later: the student's confidences and intents on the calibration rows, or on dev where there are none.
    """

    scored: tuple[Scored, ...]
    reference: dict[str, Any]


def calibrated(classifier: Classifier, data: Dataset, target: float, delta: float) -> tuple[Manifest, Calibration]:
    """The manifest with the temperature and the rules' confidences from dev, and the certificates from calibration.

    `classifier` is a draft's, at temperature 1; `delta` is what this look may spend: an equal part for each intent with
    a target of its own, and one for the pooled certificates, most of it at `target`. Without a calibration row no
    certificate has a threshold.
    """
    dev = score(classifier, data.trials("dev"))
    manifest = strictest(replace(tuned(classifier.bundle.manifest, data, dev), target=target), data.taxonomy, delta)
    if not data.split("calibration"):
        manifest = uncertified(manifest)
        classifier = classifier.at(target, manifest)
        dev = score(classifier, data.trials("dev"))
        return manifest, Calibration((dev,), reference(classifier, dev))
    classifier = classifier.at(target, manifest)
    dev, calibration = (score(classifier, data.trials(name)) for name in ("dev", "calibration"))
    parts = serving(classifier, dev), serving(classifier, calibration)
    manifest = certified(with_exits(manifest, answers_of_exit(classifier, dev), parts[0]), *parts)
    judged = Calibration((dev, calibration), reference(classifier.at(target, manifest), calibration))
    return manifest, judged


def serving(classifier: Classifier, scored: Scored) -> Serve:
    """What the classifier answers to rows under other manifests."""
    return lambda manifest, target: serve(classifier.at(target, manifest), scored)


def tuned(manifest: Manifest, data: Dataset, dev: Scored) -> Manifest:
    """The manifest with what dev says: the temperature, the rules' confidences, and what is never accepted."""
    answered = dev.answered()
    temperature = 1.0
    if answered.rows:
        temperature = fit_temperature(np.log(np.maximum(answered.probabilities, 1e-300)), answered.reference)
    rules = measure(data.taxonomy.rules, [row.text for row in dev.rows], [row.label for row in dev.rows])
    return replace(manifest, temperature=temperature, rules=rules, never_accepted=data.never_accepted)


def reference(classifier: Classifier, calibration: Scored) -> dict[str, Any]:
    """What drift is measured against: the answers of the exit and of the student, where no rule answers before them."""
    answers = [
        classifier.decide(row.text, p) for row, p in zip(calibration.rows, calibration.probabilities, strict=True)
    ]
    own = [answer for answer in answers if answer.source != "rules"]
    bins, _ = np.histogram([answer.confidence for answer in own], CONFIDENCE_BINS, (0, 1))
    mix = Counter(answer.intent for answer in own)
    unit = "requests" if all(row.request for row in calibration.rows) else "texts"
    return {"confidence_histogram": bins.tolist(), "intent_mix": dict(mix), "unit": unit}
