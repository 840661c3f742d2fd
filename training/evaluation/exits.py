"""How sure the early exit must be of a text that the student then does not see: chosen on dev, per target."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from inference.classifier import Classifier
from training.evaluation.scored import Scored

MOST_LOST = 0.005  # of dev's rows: wrong answers that the student would not have given, their standard error included
MOST_OF_ERROR = 1 / 3  # of the error that the target allows: the exit's answers are certified whole or not at all
LEAST_TAKEN = 0.1  # of dev's rows: an exit that takes fewer is not worth the time that it costs the others
FEWEST_ROWS = round(1 / MOST_LOST)  # with fewer, no error at all is not good enough


@dataclass(frozen=True)
class EarlyAnswers:
    """What the exit says of rows: its confidence, -inf where it must not answer, whether it is right, which intent."""

    confidence: np.ndarray
    correct: np.ndarray
    intents: tuple[str | None, ...] = ()

    def beside(self, intents: Collection[str]) -> EarlyAnswers:
        """The same where it must not answer with one of `intents`."""
        barred = np.array([intent in intents for intent in self.intents], bool)
        return replace(self, confidence=np.where(barred, -np.inf, self.confidence)) if intents else self

    def naming(self, intent: str) -> np.ndarray:
        """The places of the rows that it answers with this intent."""
        return np.flatnonzero([one == intent for one in self.intents])

    def of(self, rows: np.ndarray) -> EarlyAnswers:
        """The same for some of the rows, given as indices."""
        return EarlyAnswers(self.confidence[rows], self.correct[rows], tuple(self.intents[i] for i in rows))


def answers_of_exit(classifier: Classifier, scored: Scored) -> EarlyAnswers:
    """The exit's answers to rows, whatever its threshold. It must not answer a new text or with a barred intent."""
    never = frozenset(classifier.bundle.manifest.never_accepted)
    found = [classifier.exit_probabilities(row.text) for row in scored.rows]
    best = [None if shares is None else int(shares.argmax()) for shares in found]
    said = [None if i is None or classifier.labels[i] in never else i for i in best]
    confidence = [-np.inf if i is None or p is None else float(p[i]) for i, p in zip(said, found, strict=True)]
    correct = [i is not None and i == wanted for i, wanted in zip(said, scored.reference.tolist(), strict=True)]
    intents = tuple(None if i is None else classifier.labels[i] for i in said)
    return EarlyAnswers(np.array(confidence), np.array(correct, bool), intents)


def exit_threshold(early: EarlyAnswers, scores: np.ndarray, student_correct: np.ndarray, target: float) -> float | None:
    """The loosest confidence on dev above which the exit adds hardly any wrong answers; None if it is not worth it.

    `scores` and `student_correct` of shape (rows,) are what is served without it. Among what it takes, wrong answers
    must be few beside those that `target` allows, and few more than those that the student would have given and had
    accepted at that target.
    """
    confidence, correct, rows = early.confidence, early.correct, len(scores)
    added = (~correct).astype(int) - (accepted_at(scores, student_correct, target) & ~student_correct)
    order = np.argsort(-confidence, kind="stable")
    order = order[np.isfinite(confidence[order]) & (scores[order] != np.inf)]
    too_many = _sure_bound(added[order]) > MOST_LOST * rows
    too_many |= _sure_bound((~correct[order]).astype(int)) > MOST_OF_ERROR * (1 - target) * np.arange(1, len(order) + 1)
    fine = np.flatnonzero(~too_many)
    taken = int(fine.max(initial=-1)) + 1
    if not taken or taken < LEAST_TAKEN * rows:
        return None
    next_one = confidence[order[taken]] if taken < len(order) else np.nextafter(confidence[order[-1]], -np.inf)
    return float(next_one)


def _sure_bound(counts: np.ndarray) -> np.ndarray:
    """The running total of 1, 0 and -1 plus its standard error, one more than was seen: shape (rows,)."""
    return np.asarray(counts.cumsum() + np.sqrt((counts != 0).cumsum() + 1))


def accepted_at(scores: np.ndarray, correct: np.ndarray, target: float) -> np.ndarray:
    """Which rows the loosest threshold accepts at which these rows themselves meet the target: bool, shape (rows,)."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] != -np.inf]
    right = correct[order].cumsum() >= target * np.arange(1, len(order) + 1)
    accepted = np.zeros(len(scores), bool)
    accepted[order[: np.flatnonzero(right).max(initial=-1) + 1]] = True
    return accepted
