"""The review queue: which queries a person should look at, the most valuable first, and what became of them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from inference.common.text import query_form
from inference.log.decision_log import Decision, DecisionLog, TeacherAnswer
from inference.service.page.overview import Period

if TYPE_CHECKING:
    from inference.cascade import Cascade

AT_ONCE = 20
MOST_TEXTS = 20_000  # distinct texts that are looked at; a longer period is cut
LATELY = 10
MOST_REASONS = 3
# What a person's word on a query is worth: where two that should agree do not, most.
SUSPECT, FELL_BACK, REFUSED, DEFERRED, SAMPLED = 4.0, 3.0, 3.0, 1.0, 0.0


@dataclass
class Query:
    """One text to look at. `key` is of all that are the same query; `id` is its newest request; `reasons`: why here."""

    key: str
    text: str
    id: str = ""
    value: float = 0.0
    times: int = 0
    reasons: Counter[tuple[float, str]] = field(default_factory=Counter)

    @property
    def rank(self) -> float:
        """The value, more where the text was asked often."""
        return self.value + math.log2(self.times)

    @property
    def why(self) -> list[tuple[str, int]]:
        """The weightiest reasons, each with how often it was one."""
        weightiest = sorted(self.reasons.items(), key=lambda item: (-item[0][0], -item[1]))
        return [(reason, n) for (_, reason), n in weightiest[:MOST_REASONS]]


@dataclass(frozen=True)
class Queue:
    """What waits, most valuable first; how many texts a person decided on; whether the period was too long."""

    waiting: tuple[Query, ...]
    decided: int
    lately: tuple[tuple[Query, str], ...]
    cut: bool


class Choices(NamedTuple):
    """What a person chose: by the id of a query that waited, its intent; by the key of a decided one, (old, new)."""

    first: Mapping[str, str]
    again: Mapping[str, tuple[str, str]]


def key_of(text: str) -> str:
    """One name for all texts that are the same query."""
    return hashlib.sha256(query_form(text).encode("utf-8", "surrogatepass")).hexdigest()[:20]


def queue(log: DecisionLog, question: str, period: Period) -> Queue:
    """The queue of a period, for the intents that `question` names. Raises LogError."""
    decided = _decided(log, question)
    found, cut = _look(log, question, period, decided)
    waiting = sorted(found.values(), key=lambda query: (-query.rank, query.text))
    lately = tuple(reversed(list(decided.values())[-LATELY:]))
    return Queue(tuple(waiting), len(decided), lately, cut)


def _decided(log: DecisionLog, question: str) -> dict[str, tuple[Query, str]]:
    """By key, the texts that a person decided on, with their intents; the newest decision is the last."""
    decided: dict[str, tuple[Query, str]] = {}
    for row in log.read_corrections():
        if row.question_id in ("", question):
            key = key_of(row.text)
            decided.pop(key, None)
            decided[key] = Query(key, row.text, row.request_id), row.intent
    return decided


def _look(log: DecisionLog, question: str, period: Period, decided: Mapping[str, Any]) -> tuple[dict[str, Query], bool]:
    answers: dict[str, TeacherAnswer] = {}
    for answer in log.read_answers(period.since):
        if answer.request_id not in answers or answers[answer.request_id].label is None:
            answers[answer.request_id] = answer
    found: dict[str, Query] = {}
    for row in log.read_decisions(*period):
        key = key_of(row.text)
        if key in decided or not row.text.strip() or row.question_id not in ("", question):
            continue
        if key not in found and len(found) == MOST_TEXTS:
            return found, True
        value, reason = worth(row, answers.get(row.id))
        query = found.setdefault(key, Query(key, row.text))
        query.id, query.times = row.id, query.times + 1
        query.value = max(query.value, value)
        query.reasons[value, reason] += 1
    return found, False


def worth(row: Decision, answer: TeacherAnswer | None) -> tuple[float, str]:
    """What a person's word on a request is worth, and why it is in the queue."""
    said = row.intent or "nothing"
    sure = "" if row.confidence is None else f" ({row.confidence:.0%})"
    label = None if answer is None else answer.label
    if row.source == "fallback" and label is None:
        refused = "the teacher named no intent" if answer is not None else row.reason or "no teacher answered"
        return FELL_BACK + 1 - (row.confidence or 0.0), f"fell back: the best guess was {said}{sure}; {refused}"
    if answer is not None and label is None:
        return REFUSED, f"the teacher named no intent; the answer was {said}{sure}"
    if label is not None and label != row.intent:
        return SUSPECT + (row.confidence or 0.0), f"suspect: {row.source} said {said}{sure}, the teacher {label}"
    if row.deferred:
        return DEFERRED, f"deferred: the teacher said {label or said}"
    return SAMPLED, f"sampled: {row.source} said {said}" + (", and so did the teacher" if label else "")


def decide(cascade: Cascade, log: DecisionLog, chosen: Choices) -> tuple[int, int]:
    """Record choices as corrections; how many, and how many texts somebody else decided on meanwhile: these stay.

    Raises ValueError for an intent that is none, before anything is recorded, and LogError where it is not written.
    """
    _check([*chosen.first.values(), *(new for _, new in chosen.again.values())], cascade.taxonomy.names)
    saved = list(_still_open(log, cascade.taxonomy.question_id(), chosen))
    for query, intent in saved:
        cascade.feedback(query.id, intent, query.text)
    if saved:
        log.check()
    return len(saved), len(chosen.first) + len(chosen.again) - len(saved)


def _check(intents: Iterable[str], names: Sequence[str]) -> None:
    for intent in intents:
        if intent not in names:
            raise ValueError(f"{intent[:80]!r} is not an intent; the intents are {', '.join(names)}")


def _still_open(log: DecisionLog, question: str, chosen: Choices) -> Iterator[tuple[Query, str]]:
    """The choices about texts that are as the person saw them. Only these rows are read, not the whole queue."""
    decided = _decided(log, question)
    for row in log.read_requests(list(chosen.first)) if chosen.first else ():
        key = key_of(row.text)
        if key not in decided and row.question_id in ("", question):
            yield Query(key, row.text, row.id), chosen.first[row.id]
    for key, (old, new) in chosen.again.items():
        if key in decided and decided[key][1] == old:
            yield decided[key][0], new
