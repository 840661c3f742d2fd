"""How long the decision log keeps its rows: the writer deletes what is older, a few thousand rows at a time."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable

from inference.log.counts import DAY_S
from inference.log.database import LogError
from inference.log.spill import Sink

EVERY_S = 3600.0


class Retention:
    """Deletes rows older than `days` from the database and the spill files; 0 keeps all. Counts hold no text and stay.

    `stats` counts rows that expired, and attempts that failed. Raises ValueError if `days` is negative or not finite.
    """

    def __init__(self, sink: Sink, days: float, now: Callable[[], float]) -> None:
        if not 0 <= days < float("inf"):
            raise ValueError(f"retention_days must be days of at least 0 (0 keeps all), got {days!r}")
        self._sink, self._days, self._now = sink, days, now
        self.begin()

    def begin(self) -> None:
        """The state of a process."""
        self._next = 0.0
        self.stats = collections.Counter(expired=0, expiry_failures=0)

    def apply(self) -> None:
        """Delete a few thousand of the rows that are too old, if it is time. Called by the log's writer; never raises.

        Once none is left the next attempt is an hour away.
        """
        now = self._now()
        if not self._days or now < self._next or self._sink.error is not None:
            return
        before = now - self._days * DAY_S
        try:
            gone = self._sink.store.purge_some(before, counts=False)
            if gone < self._sink.store.limits.purged_at_once:
                self._next = now + EVERY_S
                gone += self._sink.drop(lambda line: _older(line, before))[0]
        except (LogError, OSError):
            self.stats["expiry_failures"] += 1
            self._next = now + EVERY_S
            return
        self.stats["expired"] += gone


def _older(line: bytes, before: float) -> bool:
    try:
        return bool(json.loads(line)["time"] < before)
    except (ValueError, TypeError, KeyError, RecursionError):  # a count, or not a row
        return False
