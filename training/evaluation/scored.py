"""A classifier's answers on labelled rows: what its student says, and what is served."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from inference.classifier import Classifier, Prediction
from inference.common.cores import cores
from training.data.rows import Row

AT_ONCE = 256  # texts that a thread takes; fewer where not every core would have some


@dataclass(frozen=True)
class Scored:
    """Rows with what the student said of them: probabilities of shape (rows, labels), and label indices.

    The label index in `reference` is -1 where the teacher refused.
    """

    rows: tuple[Row, ...]
    labels: tuple[str, ...]
    probabilities: np.ndarray
    reference: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        return self.probabilities.max(1)

    @property
    def correct(self) -> np.ndarray:
        return self.predicted == self.reference

    def answered(self) -> Scored:
        """The rows that have a reference, which alone count for accuracy."""
        has = self.reference >= 0
        rows = tuple(row for row, one in zip(self.rows, has, strict=True) if one)
        return Scored(rows, self.labels, self.probabilities[has], self.reference[has])


@dataclass(frozen=True)
class Served:
    """What a classifier answers to rows: each answer's score, whether it is accepted, right, and the exit's (`early`).

    `intents` are the answers themselves.

    The score is the student's confidence, or inf for an answer of a rule or of the exit, which is accepted at every
    threshold, or -inf for an intent that is never accepted. A request that the teacher refused has no right answer.
    """

    scores: np.ndarray
    accepted: np.ndarray
    correct: np.ndarray
    early: np.ndarray | None = None
    intents: tuple[str, ...] = ()

    @property
    def exits(self) -> float:
        """The share that the exit answers."""
        return 0.0 if self.early is None or not len(self.early) else float(self.early.mean())

    @property
    def coverage(self) -> float:
        """The share that is accepted; 0 of no rows."""
        return float(self.accepted.mean()) if len(self.accepted) else 0.0

    @property
    def agreement(self) -> float | None:
        """The share of the accepted that is right; None where nothing is accepted."""
        return float(self.correct[self.accepted].mean()) if self.accepted.any() else None

    def of(self, rows: Sequence[int]) -> Served:
        """The same for some of the rows, given as indices."""
        early = None if self.early is None else self.early[rows]
        intents = tuple(self.intents[i] for i in rows) if self.intents else ()
        return Served(self.scores[rows], self.accepted[rows], self.correct[rows], early, intents)

    def naming(self, intents: Collection[str]) -> Served:
        """The same where every answer with another intent is out of the question: -inf, and not accepted."""
        named = np.array([intent in intents for intent in self.intents], bool)
        return replace(self, scores=np.where(named, self.scores, -np.inf), accepted=self.accepted & named)

    def beside(self, intents: Collection[str]) -> Served:
        """The same without the answers with one of `intents`."""
        return self.naming(set(self.intents) - set(intents)) if intents else self


def score(classifier: Classifier, rows: Sequence[Row]) -> Scored:
    """Run the student on each row. An empty sequence raises ValueError."""
    if not rows:
        raise ValueError("nothing to score: the split has no rows")
    probabilities = said_by_student(classifier, [row.text for row in rows], "scoring")
    index = {label: i for i, label in enumerate(classifier.labels)} | {"": -1}
    reference = np.array([index[row.label] for row in rows])
    return Scored(tuple(rows), classifier.labels, probabilities, reference)


def said_by_student(classifier: Classifier, texts: Sequence[str], doing: str) -> np.ndarray:
    """The student's probabilities of every text, shape (texts, labels), by all cores; `doing` names it to who waits.

    Texts of about one length go together, which makes the classifier's batches large; an answer depends on neither
    that nor on the threads.
    """
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    size = max(1, min(AT_ONCE, -(-len(order) // cores())))
    parts = [order[begin : begin + size] for begin in range(0, len(order), size)]
    found = np.empty((len(texts), len(classifier.labels)))
    bar = tqdm(total=len(texts), desc=doing, unit="row", leave=False, disable=None)
    with bar, ThreadPoolExecutor(cores()) as pool:
        said = pool.map(lambda part: classifier.probabilities_of_many([texts[i] for i in part]), parts)
        for part, probabilities in zip(parts, said, strict=True):
            found[part] = probabilities
            bar.update(len(part))
    return found


def serve(classifier: Classifier, scored: Scored) -> Served:
    """What `classifier` answers to rows whose probabilities are known: its own decisions, rules and exit included."""
    answers = [classifier.decide(row.text, p) for row, p in zip(scored.rows, scored.probabilities, strict=True)]
    never = frozenset(classifier.bundle.manifest.never_accepted)
    return Served(
        np.array([_score(answer, never) for answer in answers]),
        np.array([answer.accepted for answer in answers]),
        np.array([answer.intent == row.label for answer, row in zip(answers, scored.rows, strict=True)]),
        np.array([answer.source == "exit" for answer in answers]),
        tuple(answer.intent for answer in answers),
    )


def _score(answer: Prediction, never: frozenset[str]) -> float:
    if answer.intent in never:
        return -np.inf
    return answer.confidence if answer.source == "student" else np.inf
