"""Champion and challenger on the same held-out rows: what the gate decides on is measured here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.classifier import Classifier
from training.data.rows import Row
from training.evaluation.scored import Scored, score
from training.lifecycle.gate import Accepted, Verdict, judge


def compare(champion: Classifier | None, challenger: Classifier, rows: Sequence[Row], target: float) -> Verdict:
    """The gate's verdict on a challenger, where certificates at `target` count.

    Rows of an intent that one of the two does not know are left out.
    """
    certified = _threshold(challenger, target) is not None
    if champion is None:
        return judge([], None, np.array([], bool), certified, target, 1.0, 1.0)
    rows = [row for row in rows if row.label in champion.labels and row.label in challenger.labels]
    size = len(challenger.bundle.model) / len(champion.bundle.model)
    if not rows:
        return judge([], np.array([], bool), np.array([], bool), certified, target, 1.0, size)
    old, new = (score(classifier, rows) for classifier in (champion, challenger))
    return judge(
        [row.label for row in rows],
        old.correct,
        new.correct,
        certified,
        target,
        latency_ratio=float(np.median(new.seconds) / np.median(old.seconds)),
        size_ratio=size,
        accepted=(_accepted(champion, old, target), _accepted(challenger, new, target)),
    )


def _threshold(classifier: Classifier, target: float) -> float | None:
    return {c.target: c.accept_above for c in classifier.bundle.manifest.certificates}.get(target)


def _accepted(classifier: Classifier, scored: Scored, target: float) -> Accepted:
    local = scored.local(target)
    return Accepted(local.accepted(_threshold(classifier, target)), local.correct)
