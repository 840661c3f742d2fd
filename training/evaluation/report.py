"""Evaluate the file that ships: the report that goes into the bundle.

Every figure comes from `Classifier`, on the int8 file, text by text, as an application would call it.
"""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import MODEL, Certificate
from inference.bundle.rules import measure
from inference.classifier import Classifier
from training.data import noise
from training.data.rows import Row
from training.evaluation import metrics
from training.evaluation.scored import Scored, score
from training.evaluation.slices import slices

CURVE_POINTS = 100
MOST_TIMED = 1000


def report(test: Scored, outside: frozenset[str], certificates: Sequence[Certificate], folder: Path) -> dict[str, Any]:
    """All figures of the test split, ready for JSON."""
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
        "certificates": [certified_on_test(test, certificate) for certificate in certificates],
        "rules": rule_figures(test),
        "out_of_scope": out_of_scope_figures(test, outside),
        "latency_ms": latency(test.seconds),
        "machine": machine(),
        "model_bytes": (folder / MODEL).stat().st_size,
    }


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

    After Geifman and El-Yaniv 2017; `curve` holds (coverage, risk) pairs.
    """
    order = np.argsort(-confidence, kind="stable")
    risk = np.cumsum(~correct[order]) / np.arange(1, len(order) + 1)
    points = np.unique(np.linspace(0, len(order) - 1, min(CURVE_POINTS, len(order))).astype(int))
    curve = [((int(i) + 1) / len(order), float(risk[i])) for i in points]
    return {"area": float(risk.mean()), "curve": curve}


def certified_on_test(test: Scored, certificate: Certificate) -> dict[str, Any]:
    """A certificate beside what the test split shows at its threshold, rules included."""
    local = test.local(certificate.target)
    accepted = local.accepted(certificate.accept_above)
    return {
        **asdict(certificate),
        "test_coverage": float(accepted.mean()),
        "test_agreement": _accuracy(local, accepted),
    }


def rule_figures(test: Scored) -> dict[str, Any]:
    """The rules as dev measured them, what test says of each, and the names of those that never earned an answer."""
    if test.bundle is None:
        return {"measured": [], "test": [], "unearned": []}
    measured = test.bundle.manifest.rules
    found = measure(test.bundle.taxonomy.rules, [row.text for row in test.rows], [row.label for row in test.rows])
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


def challenge(
    classifier: Classifier, test: Scored, train: Sequence[Row], certificate: Certificate | None
) -> dict[str, dict[str, Any]]:
    """The student's accuracy by slice of test, and the coverage and agreement that `certificate` has there.

    "typos put in" is the whole of test in lower case, without punctuation, and with a slip for every 25 letters.
    """
    rng = random.Random(0)
    hurried = [replace(row, text=noise.in_a_hurry(row.text, rng)) for row in test.rows]
    whole = {"typos put in": list(range(len(hurried)))}
    return {
        **_slices(score(classifier, hurried), whole, certificate),
        **_slices(test, slices(test.rows, train), certificate),
    }


def _slices(
    scored: Scored, members: Mapping[str, Sequence[int]], certificate: Certificate | None
) -> dict[str, dict[str, Any]]:
    local = scored if certificate is None else scored.local(certificate.target)
    accepted = local.accepted(None if certificate is None else certificate.accept_above)
    return {
        name: {
            "rows": len(rows),
            "accuracy": float(scored.correct[rows].mean()),
            "coverage": float(accepted[rows].mean()),
            "agreement": _agreement(local.correct[rows][accepted[rows]]),
        }
        for name, rows in members.items()
    }


def _agreement(correct: np.ndarray) -> float | None:
    return float(correct.mean()) if len(correct) else None


def latency(seconds: np.ndarray) -> dict[str, float]:
    """Milliseconds per text, one at a time, one thread: p50, p95, p99."""
    timed = seconds[:MOST_TIMED] * 1e3
    return {f"p{q}": float(np.percentile(timed, q)) for q in (50, 95, 99)}


def machine() -> str:
    """The processor that the timings were taken on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{name}, {os.cpu_count()} cores"
