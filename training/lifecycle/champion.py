"""Champion and challenger on the same held-out rows: what the gate decides on is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inference.classifier import Classifier
from training.data.rows import Row
from training.evaluation.scored import score, serve
from training.lifecycle.gate import Verdict, judge


def compare(champion: Classifier | None, challenger: Classifier, rows: Sequence[Row], target: float) -> Verdict:
    """The gate's verdict on a challenger, where certificates at `target` count.

    Rows of an intent that one of the two does not know are left out.
    """
    challenger = _at(challenger, target)
    certified = challenger.certificate is not None and challenger.certificate.accept_above is not None
    if champion is None:
        return judge([], None, np.array([], bool), certified, target, 1.0, 1.0)
    champion = _at(champion, target)
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
        accepted=(serve(champion, old), serve(challenger, new)),
    )


def _at(classifier: Classifier, target: float) -> Classifier:
    """The classifier at `target`; one that has no such certificate accepts nothing."""
    manifest = classifier.bundle.manifest
    kept = tuple(certificate for certificate in manifest.certificates if certificate.target == target)
    return classifier.at(target, replace(manifest, certificates=kept))
