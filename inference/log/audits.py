"""Audited answers: local answers that callers accepted, of the uniform sample, with what a teacher said of them.

They are read from the log as they come. A few words arrive late (a teacher is slow, rows were spilled): they are taken
in when they come, so that nothing is counted twice and nothing that is there is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from inference.log.agreement import LOCAL
from inference.log.reader import Reader

SETTLED_S = 30.0  # after which a teacher has answered, as a rule, and the rows are written
LATE_S = 900.0  # for which a late answer is waited for
BLIND_AFTER = 5  # answers in a row of which nobody said whether they are right


class Audited(NamedTuple):
    """One accepted local answer, and whether a teacher agreed. A refusal is no agreement, as in a certificate."""

    time: float
    bundle_id: str
    intent: str
    confidence: float | None
    source: str
    agreed: bool


class _Local(NamedTuple):
    """What is needed of a row: there may be years of them, and their texts stay where they are."""

    id: str
    time: float
    bundle_id: str | None
    intent: str | None
    confidence: float | None
    source: str


class Audits:
    """Reads the audited answers of one question after `since`. For one thread at a time."""

    def __init__(self, log: Reader, question: str, since: float = 0.0) -> None:
        self._log, self._question, self._since, self._until = log, question, since, since
        self._taken: dict[str, float] = {}  # ids of rows that a later look reads again, with their times
        self._open: dict[str, float] = {}  # answers since the last audited one, of which nobody said anything
        self._last = since

    @property
    def blind_since(self) -> float | None:
        """Since when nobody says whether answers are right (a cap, an outage); None where somebody does."""
        times = list(self._open.values())  # another thread may empty it meanwhile
        return min(times) if len(times) >= BLIND_AFTER else None

    def new(self, now: float) -> list[Audited]:
        """What has come since the last call, in the order of time. Raises LogError if the log cannot be read."""
        found: list[Audited] = []
        since, until = max(self._since, self._until - LATE_S), now - SETTLED_S
        rows = [row for row in self._rows(since, until) if row.id not in self._taken]
        if rows:
            wanted = {row.id for row in rows}
            labels = self._labels(wanted, rows[0].time - SETTLED_S)
            for row in rows:
                self._take(row, labels, found)
        self._until = max(self._until, until)
        self._taken = {name: time for name, time in self._taken.items() if time >= self._until - LATE_S}
        return found

    def _rows(self, since: float, until: float) -> Iterator[_Local]:
        for row in self._log.read_sample(since, until):
            local = row.accepted and row.source in LOCAL and row.intent is not None
            if local and row.time > self._since and row.question_id == self._question:
                yield _Local(row.id, row.time, row.bundle_id, row.intent, row.confidence, row.source)

    def _labels(self, wanted: set[str], since: float) -> dict[str, str | None]:
        labels: dict[str, str | None] = {}
        for answer in self._log.read_sampled_answers(since):
            if answer.request_id in wanted and labels.get(answer.request_id) is None:
                labels[answer.request_id] = answer.label
        return labels

    def _take(self, row: _Local, labels: dict[str, str | None], found: list[Audited]) -> None:
        if row.id in labels:
            agreed = labels[row.id] == row.intent
            found.append(Audited(row.time, row.bundle_id or "", row.intent or "", row.confidence, row.source, agreed))
            self._taken[row.id] = row.time
            self._last = max(self._last, row.time)
            self._open = {name: time for name, time in self._open.items() if time > self._last}
        elif row.time > self._last:
            self._open[row.id] = row.time
