"""The early exit of a draft: fitted to what the draft's own student says, and tuned on dev."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from inference.bundle.exit import Exit
from inference.bundle.manifest import EXIT, Bundle, Manifest
from inference.classifier import Classifier
from training.data.dataset import Dataset
from training.evaluation.calibrate import fit_temperature
from training.evaluation.exits import FEWEST_ROWS
from training.evaluation.scored import said_by_student
from training.student import exit as exits
from training.student.fit import drawn, noisy_copies
from training.student.targets import Target, dense

MOST_ROWS, MOST_CELLS = 40_000, 20_000_000  # texts, and texts times intents, that the student is asked about
OF_LABEL = 0.5  # of the target: the rest is the student's answer. The student's alone is worse (docs/LOG.md)


def with_exit(classifier: Classifier, data: Dataset, copies: int, seed: int) -> Classifier:
    """The draft with an exit, written to its folder; as it is where dev is too small to tell what an exit costs."""
    if len(data.trials("dev")) < FEWEST_ROWS or not data.split("calibration"):
        return classifier
    root, manifest = classifier.bundle.root, classifier.bundle.manifest
    (root / EXIT).write_bytes(distilled(classifier, data, copies, seed).to_bytes())
    return Classifier(Bundle.draft(root, manifest), threads=classifier.threads, redactor=classifier.redact)


def distilled(classifier: Classifier, data: Dataset, copies: int, seed: int) -> Exit:
    """An exit fitted to the train rows and `copies` noisy ones of each, half to labels, half to the student."""
    train = data.split("train")
    every = [*train, *noisy_copies(train, copies, seed)]
    places = drawn(len(every), min(MOST_ROWS, MOST_CELLS // len(classifier.labels)), seed)
    rows = [every[i] for i in places]
    ids = [classifier.tokens(row.text) for row in rows]
    said = said_by_student(classifier, [row.text for row in rows], "asking the student")
    index = {label: i for i, label in enumerate(classifier.labels)}
    target = OF_LABEL * dense([Target.of(row, index) for row in rows]) + (1 - OF_LABEL) * said
    found = exits.fit(ids, target, np.array([row.weight for row in rows]), places % len(train), seed)
    dev = [row for row in data.trials("dev") if row.label]
    dev_ids = [classifier.tokens(row.text) for row in dev]
    logits = np.array([found.logits(one) for one in dev_ids])
    wanted = np.array([index[row.label] for row in dev])
    return exits.tuned(found, dev_ids, fit_temperature(logits, wanted))


def drop_unused(root: Path, manifest: Manifest) -> None:
    """Remove a draft's exit if no certificate uses it."""
    if not manifest.exits:
        (root / EXIT).unlink(missing_ok=True)
