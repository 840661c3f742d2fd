"""Which labels a person should look at, the most valuable first.

Four signs, each worth 0 to 1 and added up: the serving student disagrees with the label, surely; a student that was
trained on the other rows finds the label unlikely (its out-of-fold probability, "self-confidence" in confident
learning: Northcutt, Jiang and Chuang 2021); votes that split; near-duplicates that have another label. Rows
of the train split alone are looked at: a judging row that was chosen for what a student says of it would break the
certificate.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from inference.classifier import Classifier
from training.data.duplicates import near_groups
from training.data.linking import link
from training.data.rows import Row
from training.labelling.second_opinion import out_of_fold

LEAST = 0.05  # of a row's value: what is less is no sign of anything


@dataclass(frozen=True)
class Sign:
    """Why one row is suspect: how much that is worth, in words, and the intent that speaks against its label."""

    value: float
    reason: str
    guess: str


@dataclass(frozen=True)
class Suspect:
    """A row to look at. `guess` is the intent that most speaks for; `decision` is what a person fills in."""

    id: str
    text: str
    label: str
    labeler: str
    value: float
    guess: str
    reasons: tuple[str, ...]
    decision: str | None = None

    def to_record(self) -> dict[str, Any]:
        """As a line of JSON."""
        return {**asdict(self), "value": round(self.value, 4), "reasons": list(self.reasons)}


def suspects(rows: Sequence[Row], student: Classifier | None, base: str) -> list[Suspect]:
    """The rows with a sign against their label, the most valuable first. `student` is the serving one, if there is."""
    signs: dict[int, list[Sign]] = collections.defaultdict(list)
    found = (_split_votes(rows), _disagreements(rows, student), _unlikely(rows, base), _contradictions(rows))
    for i, sign in chain.from_iterable(found):
        signs[i].append(sign)
    every = [_suspect(rows[i], of_row) for i, of_row in signs.items()]
    return sorted((one for one in every if one.value >= LEAST), key=lambda one: (-one.value, one.text))


def _suspect(row: Row, signs: Sequence[Sign]) -> Suspect:
    votes: collections.Counter[str] = collections.Counter()
    for sign in signs:
        votes[sign.guess] += sign.value  # type: ignore[assignment]
    [(guess, _)] = votes.most_common(1)
    value = sum(sign.value for sign in signs)
    return Suspect(row.id, row.text, row.label, row.labeler, value, guess, tuple(sign.reason for sign in signs))


def _split_votes(rows: Sequence[Row]) -> Iterator[tuple[int, Sign]]:
    for i, row in enumerate(rows):
        others = {name: share for name, share in (row.shares or {}).items() if name != row.label and share}
        if others:
            guess = max(sorted(others), key=lambda name: others[name])
            told = ", ".join(f"{name} {share:.0%}" for name, share in sorted((row.shares or {}).items()))
            yield i, Sign(min(1.0, 2 * sum(others.values())), f"the votes split: {told}", guess)


def _disagreements(rows: Sequence[Row], student: Classifier | None) -> Iterator[tuple[int, Sign]]:
    if student is None:
        return
    for i, row in enumerate(rows):
        guess, confidence = student.best_guess(row.text)
        if guess != row.label:
            yield i, Sign(confidence, f"the serving student says {guess} ({confidence:.0%})", guess)


def _unlikely(rows: Sequence[Row], base: str) -> Iterator[tuple[int, Sign]]:
    """Rows whose label is unlikely to a student of the others. Intents with fewer than five rows are left alone."""
    found = out_of_fold(rows, base)
    if found is None:
        return
    names = found.names
    for of_row, label, i in zip(found.probabilities, found.given, found.rows, strict=True):
        best, own = int(of_row.argmax()), float(of_row[label])
        if best != label:
            told = f"{names[best]} ({of_row[best]:.0%}), not this ({own:.0%})"
            yield i, Sign(1 - own, f"a student of the other rows says {told}", names[best])


def _contradictions(rows: Sequence[Row]) -> Iterator[tuple[int, Sign]]:
    texts, labels = [row.text for row in rows], [row.label for row in rows]
    linked = link([str(i) for i in range(len(rows))], labels, {}, texts, near_groups(texts))
    units = [[int(number) for number in unit] for unit in linked.units]
    for unit, near in linked.near.items():
        against = [i for j in near if labels[units[j][0]] != labels[units[unit][0]] for i in units[j]]
        neighbours = len(units[unit]) - 1 + sum(len(units[j]) for j in near)
        for i in units[unit] if against else ():
            first = rows[min(against)]
            told = f"nearly the same as {first.text[:80]!r}, which is {first.label}"
            yield i, Sign(len(against) / neighbours, told, first.label)
