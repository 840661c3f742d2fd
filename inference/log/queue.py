"""What waits in memory until the decision log's writer comes for it: rows, and counts."""

from __future__ import annotations

import collections
from concurrent.futures import Future
from typing import NamedTuple

from inference.common.reentrant import reentrant_lock
from inference.log.rows import Decision, Row, TeacherAnswer, TrialAnswer

# What losing a row costs, cheapest first. The last is paid for and never dropped.
VALUES = ("local", "sampled", "deferred", "correction", "answer")


class Entry(NamedTuple):
    """A row that waits, and who waits for it."""

    row: Row
    kept: Future[None] | None = None

    @property
    def value(self) -> str:
        """The row's place in VALUES."""
        if self.kept is not None or isinstance(self.row, TeacherAnswer):
            return "answer"
        if isinstance(self.row, Decision):
            return "deferred" if self.row.deferred else "sampled" if self.row.sampled else "local"
        return "local" if isinstance(self.row, TrialAnswer) else "correction"


class Queue:
    """Rows that wait to be written. A full one drops those of least value, of these the oldest."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._waiting: dict[str, collections.deque[Entry]] = {value: collections.deque() for value in VALUES}
        self._lock = reentrant_lock()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, entry: Entry, first: bool = False) -> str | None:
        """Add a row, before all others of its value where `first`; the value of the row that was dropped for it."""
        with self._lock:
            waiting = self._waiting[entry.value]
            (waiting.appendleft if first else waiting.append)(entry)
            if len(self) > self.size:
                for value in VALUES[:-1]:
                    if self._waiting[value]:
                        self._waiting[value].popleft()
                        return value
        return None

    def take(self, most: int) -> list[Entry]:
        """Up to `most` rows, the most valuable first."""
        with self._lock:
            taken: list[Entry] = []
            for value in reversed(VALUES):
                waiting = self._waiting[value]
                taken += [waiting.popleft() for _ in range(min(len(waiting), most - len(taken)))]
        return taken
