"""The short table at the end of a run."""

from __future__ import annotations

from typing import Any

from training.evaluation import card


def summary(report: dict[str, Any]) -> str:
    """What a report says in a few lines: accuracy, certificates, latency, size, and what more labels would buy."""
    outside, latency = report["out_of_scope"], report["latency_ms"]
    rows = [("test accuracy", f"{report['accuracy']:.1%} of {report['rows']} rows, macro-F1 {report['macro_f1']:.1%}")]
    if outside:
        figures = f"accuracy {outside['in_scope_accuracy']:.1%}, AUROC against out of scope {outside['auroc']:.4f}"
        rows.append(("in scope", figures))
    rows += [(f"certified at {c['target']:.0%}", _certified(c)) for c in report["certificates"]]
    own = report["intent_certificates"]
    rows += [(f"{one['intent']} at {one['target']:.1%}", card.own_target(one)) for one in own]
    rows.append(("latency", f"p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, one thread"))
    rows.append(("model file", f"{report['model_bytes'] / 1e6:.1f} MB"))
    rows += [(f"next: {one['labels']} labels", card.bought(one)) for one in report["more_labels"]]
    return "\n".join(f"{name:<20}{value}" for name, value in rows)


def _certified(certificate: dict[str, Any]) -> str:
    if certificate["accept_above"] is None:
        return "nothing: defer everything"
    exits = f", {certificate['test_exits']:.1%} of test by the exit" if certificate["test_exits"] else ""
    coverage = f"accepts {certificate['coverage']:.1%} of calibration, {certificate['test_coverage']:.1%} of test"
    return f"{coverage}, right on {card.percent(certificate['test_agreement'])} of these{exits}"
