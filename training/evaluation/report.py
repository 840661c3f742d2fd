"""Evaluate the file that ships: the report that goes into the bundle.

Every figure comes from `Classifier`, on the int8 file, text by text, as an application would call it.
"""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import Bundle, Certificate
from inference.bundle.rules import measure
from inference.classifier import Classifier
from training.data import noise
from training.data.rows import Row
from training.evaluation import metrics
from training.evaluation.scored import Scored, Served, score, serve
from training.evaluation.slices import slices
from training.evaluation.statistics import selective_risk

CURVE_POINTS = 100
MOST_TIMED = 1000
WARM_UP = 20


def report(classifier: Classifier, test: Scored) -> dict[str, Any]:
    """All figures of the test split, ready for JSON: the student's, but for the certificates and the rules.

    Requests that the teacher refused are in the certificates' figures alone.
    """
    bundle, whole, test = classifier.bundle, test, test.answered()
    intents, served = bundle.manifest.intents, serve(classifier, whole)
    own = [certificate.intent for certificate in intents]
    per_class = metrics.compute(metrics.PerClass, test.predicted, test.reference, classes=len(test.labels))
    confusion = per_class.pop("confusion")
    return {
        "rows": len(test.rows),
        "accuracy": _accuracy(test, np.ones(len(test.rows), bool)),
        "macro_f1": per_class.pop("macro_f1"),
        **gold_figures(test),
        "per_intent": {
            label: {name: values[i] for name, values in per_class.items()} for i, label in enumerate(test.labels)
        },
        "confusion": confusion,
        "calibration": metrics.compute(metrics.CalibrationError, test.confidence, test.correct),
        "risk_coverage": risk_coverage(test.confidence, test.correct),
        "certificates": [
            certified_on_test(certificate, serve(classifier.at(certificate.target), whole).beside(own))
            for certificate in bundle.manifest.certificates
        ],
        "intent_certificates": [certified_on_test(one, served.naming([one.intent])) for one in intents],
        "rules": rule_figures(bundle, test.rows),
        "out_of_scope": out_of_scope_figures(test, bundle.taxonomy.out_of_scope),
        "latency_ms": latency(timed(classifier, test.rows[:MOST_TIMED])),
        "machine": machine(),
        "model_bytes": len(bundle.model),
    }


def unseen(test: Scored, train: Sequence[Row]) -> dict[str, Any]:
    """How many test rows have a text that is not in train, and the student's accuracy on them.

    Requests of the live sample may repeat training texts, as traffic does.
    """
    test, known = test.answered(), {row.key for row in train}
    new = np.array([row.key not in known for row in test.rows], bool)
    return {"rows": int(new.sum()), "accuracy": _accuracy(test, new)}


def _accuracy(test: Scored, rows: np.ndarray) -> float | None:
    if not rows.any():
        return None
    found = metrics.compute(metrics.Accuracy, test.predicted[rows], test.reference[rows])
    return float(found["accuracy"])


def gold_figures(test: Scored) -> dict[str, float]:
    """Accuracy against gold, of the student and of the teacher, where rows carry gold beside a teacher's label."""
    known = [i for i, row in enumerate(test.rows) if row.gold is not None]
    if not known:
        return {}
    said = [test.labels[test.predicted[i]] for i in known]
    gold = [test.rows[i].gold for i in known]
    return {
        "gold_accuracy": float(np.mean([s == g for s, g in zip(said, gold, strict=True)])),
        "teacher_gold_accuracy": float(np.mean([test.rows[i].label == test.rows[i].gold for i in known])),
    }


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Selective risk among the most confident share of rows, and the area under that curve.

    `curve` holds (coverage, risk) pairs.
    """
    risk = selective_risk(confidence, correct)
    points = np.unique(np.linspace(0, len(risk) - 1, min(CURVE_POINTS, len(risk))).astype(int))
    curve = [((int(i) + 1) / len(risk), float(risk[i])) for i in points]
    return {"area": float(risk.mean()), "curve": curve}


def certified_on_test(certificate: Certificate, test: Served) -> dict[str, Any]:
    """A certificate beside what its classifier does on the test split, and the share that its exit answers there.

    `test` has the answers that the certificate is about.
    """
    found = {"test_coverage": test.coverage, "test_agreement": test.agreement, "test_exits": test.exits}
    return {**asdict(certificate), **found}


def rule_figures(bundle: Bundle, test: Sequence[Row]) -> dict[str, Any]:
    """The rules as dev measured them, what test says of each, and the names of those that never earned an answer."""
    measured = bundle.manifest.rules
    found = measure(bundle.taxonomy.rules, [row.text for row in test], [row.label for row in test])
    return {
        "measured": [asdict(rule) for rule in measured],
        "test": [asdict(rule) for rule in found],
        "unearned": [rule.name for rule in measured if not rule.earned],
    }


def out_of_scope_figures(test: Scored, outside: frozenset[str]) -> dict[str, Any]:
    """How well in-scope and out-of-scope rows are told apart; empty where test holds only one of the two.

    The in-scope score is the largest probability of an in-scope intent.
    """
    out = np.array([label in outside for label in test.labels])
    is_out = out[test.reference]
    if is_out.all() or not is_out.any():
        return {}
    in_scope_score = test.probabilities[:, ~out].max(1)
    return {
        "in_scope_rows": int((~is_out).sum()),
        "in_scope_accuracy": _accuracy(test, ~is_out),
        "out_of_scope_rows": int(is_out.sum()),
        "out_of_scope_recall": float(out[test.predicted[is_out]].mean()),
        "auroc": metrics.compute(metrics.Auroc, in_scope_score, ~is_out)["auroc"],
    }


def challenge(classifier: Classifier, test: Scored, train: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """The student's accuracy by slice of test, and the coverage and agreement that `classifier` has there.

    "typos put in" is the whole of test in lower case, without punctuation, and with a slip for every 25 letters.
    """
    rng = random.Random(0)
    hurried = [replace(row, text=noise.in_a_hurry(row.text, rng)) for row in test.rows]
    whole = {"typos put in": list(range(len(hurried)))}
    return {
        **_slices(classifier, score(classifier, hurried), whole),
        **_slices(classifier, test, slices(test.rows, train)),
    }


def _slices(classifier: Classifier, scored: Scored, members: Mapping[str, Sequence[int]]) -> dict[str, dict[str, Any]]:
    served = serve(classifier, scored)
    return {
        name: {
            "rows": len(rows),
            "accuracy": float(scored.correct[rows].mean()),
            "coverage": served.of(rows).coverage,
            "agreement": served.of(rows).agreement,
        }
        for name, rows in members.items()
    }


def timed(classifier: Classifier, rows: Sequence[Row]) -> np.ndarray:
    """The seconds that a whole answer to each row takes, one at a time."""
    for row in rows[:WARM_UP]:
        classifier.predict(row.text)
    taken = []
    for row in rows:
        start = time.perf_counter()
        classifier.predict(row.text)
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def latency(seconds: np.ndarray) -> dict[str, float]:
    """Milliseconds per text, one at a time, one thread: p50, p95, p99."""
    return {f"p{q}": float(np.percentile(seconds * 1e3, q)) for q in (50, 95, 99)}


def machine() -> str:
    """The processor that the timings were taken on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
