"""A classifier's answers on labelled rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference.bundle.manifest import Bundle
from inference.bundle.rules import Rules
from inference.classifier import Classifier
from training.data.rows import Row

WARM_UP = 20


@dataclass(frozen=True)
class Scored:
    """Rows with what the classifier said of them: probabilities of shape (rows, labels), label indices, seconds.

    `bundle` is the classifier's own: its rules answer before the student does, see `local`.
    """

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    reference: np.ndarray
    seconds: np.ndarray
    bundle: Bundle | None = None

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        return self.probabilities.max(1)

    @property
    def correct(self) -> np.ndarray:
        return self.predicted == self.reference

    def accepted(self, above: float | None) -> np.ndarray:
        """Which rows score above a threshold: none where there is no threshold."""
        return np.zeros(len(self.rows), bool) if above is None else self.confidence > above

    def local(self, target: float) -> Scored:
        """The rows as the local tier for `target` answers them: where a rule fires its intent has the score inf."""
        if self.bundle is None:
            return self
        rules = Rules.for_target(self.bundle.taxonomy, self.bundle.manifest.rules, target)
        probabilities = self.probabilities.copy()
        for i, row in enumerate(self.rows):
            if (rule := rules.match(row.text)) is not None:
                probabilities[i] = np.array([np.inf if label == rule.intent else 0.0 for label in self.labels])
        return replace(self, probabilities=probabilities)


def score(classifier: Classifier, rows: Sequence[Row]) -> Scored:
    """Run the classifier on each row, timing each call. An empty sequence raises ValueError."""
    if not rows:
        raise ValueError("nothing to score: the split has no rows")
    for row in rows[:WARM_UP]:
        classifier.probabilities(row.text)
    seconds, probabilities = [], []
    for row in rows:
        start = time.perf_counter()
        probabilities.append(classifier.probabilities(row.text))
        seconds.append(time.perf_counter() - start)
    index = {label: i for i, label in enumerate(classifier.labels)}
    reference = np.array([index[row.label] for row in rows])
    return Scored(
        tuple(rows), classifier.labels, np.array(probabilities), reference, np.array(seconds), classifier.bundle
    )
