"""A published bundle with an exit put in, as training would have sealed it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from inference.bundle.exit import Exit
from inference.bundle.manifest import EXIT, WITHOUT_INTENTS, Bundle, Certificate, resolve, seal
from inference.classifier import Classifier
from tests.tiny import tiny_rows

CERTIFICATES = (
    Certificate(0.90, 0.01, 0.5, exit_above=0.6),
    Certificate(0.95, 0.01, 0.9),
    Certificate(0.97, 0.01, None),
)


def fitted(classifier: Classifier) -> Exit:
    """An exit for the tiny data, fitted to the labels alone."""
    from training.student.exit import fit

    rows = tiny_rows()
    target = np.array([[label == row["label"] for label in classifier.labels] for row in rows], np.float32)
    found = fit([classifier.tokens(row["text"]) for row in rows], target, np.ones(len(rows)), np.arange(len(rows)))
    return replace(found, most_unknown=0.5)


def add_exit(home: Path, folder: Path, certificates: Sequence[Certificate] = CERTIFICATES) -> Path:
    """A copy of a model's folder whose bundle has an exit."""
    copy = shutil.copytree(home, folder)
    root = resolve(copy)
    (root / EXIT).write_bytes(fitted(Classifier.load(copy)).to_bytes())
    seal(root, replace(Bundle.load(root).manifest, schema=WITHOUT_INTENTS, certificates=tuple(certificates)))
    return copy
