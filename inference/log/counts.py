"""Counts by the hour: bins, and the tally of one process."""

from __future__ import annotations

import collections
import contextlib
import math
import time
import uuid
from collections.abc import Iterator
from typing import Any

from inference.common.reentrant import reentrant_lock
from inference.log.rows import Count, tidy_text

HOUR_S = 3600
DAY_S = 86_400.0
CONFIDENCE_BINS = 20
LATENCY_BINS_PER_DECADE = 20
FASTEST_MS, DECADES = 0.01, 7
FOLD_AT = 1024
UNITS = ("requests", "texts")


def latency_bin(ms: float) -> int:
    """The bin of a latency in milliseconds: twenty to a decade, from 0.01 ms to 100 s, so 12 % wide."""
    if not ms > FASTEST_MS:  # NaN too
        return 0
    place = LATENCY_BINS_PER_DECADE * math.log10(min(ms, 1e9) / FASTEST_MS)
    return min(int(place), LATENCY_BINS_PER_DECADE * DECADES - 1)


def latency_edge(place: int) -> float:
    """The milliseconds at which a bin begins."""
    return float(FASTEST_MS * 10 ** (place / LATENCY_BINS_PER_DECADE))


def confidence_bin(confidence: float) -> int:
    """The bin of a confidence: twenty of equal width between 0 and 1."""
    if not 0 <= confidence < 1:  # NaN too
        return CONFIDENCE_BINS - 1 if confidence >= 1 else 0
    return int(confidence * CONFIDENCE_BINS)


class Tally:
    """Counts since the last one was written. Any thread may count; one takes.

    Counting appends to a queue, which needs no lock. A count is a total of this writer's, not an increment, so that
    writing it again after a failure changes nothing.
    """

    def __init__(self) -> None:
        self._events: collections.deque[tuple[Any, ...]] = collections.deque()
        self._folded: collections.Counter[tuple[Any, ...]] = collections.Counter()
        self._lock = reentrant_lock()
        self._totals: collections.Counter[tuple[int, str, str]] = collections.Counter()
        self._changed: set[tuple[int, str, str]] = set()
        self._writer = uuid.uuid4().hex

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._events or self._folded or self._changed)

    def request(self, *what: Any) -> None:
        """Count a request, given as `DecisionLog.count` takes it."""
        self._events.append((int(time.time()) // HOUR_S, *what))
        if len(self._events) >= FOLD_AT:
            self._fold(wait=False)

    def past(self, hour: int, *what: Any) -> None:
        """Count a request of an earlier hour, `hour` hours after 1970: for a history that is made up."""
        self._events.append((hour, *what))

    def note(self, kind: str, key: str, n: int = 1) -> None:
        """Count something else `n` times."""
        with self._lock:
            self._folded[int(time.time()) // HOUR_S, kind, key] += n

    def _fold(self, wait: bool) -> None:
        if not self._lock.acquire(blocking=wait):
            return  # another thread is at it
        try:
            events: list[tuple[Any, ...]] = []
            with contextlib.suppress(IndexError):  # taken meanwhile by a signal handler of this thread
                events.extend(_binned(self._events.popleft()) for _ in range(len(self._events)))
            self._folded.update(events)
        finally:
            self._lock.release()

    def take(self) -> list[Count]:
        """What changed since the last call."""
        self._fold(wait=True)
        with self._lock:
            folded, self._folded = self._folded, collections.Counter()
        for event, n in folded.items():
            for kind, key, times in _explode(event[1:]):
                total = (event[0], kind, tidy_text("key", key))
                self._totals[total] += n * times
                self._changed.add(total)
        changed, self._changed = self._changed, set()
        return [
            Count(hour * HOUR_S, kind, key, self._totals[hour, kind, key], self._writer) for hour, kind, key in changed
        ]

    def again(self, counts: list[Count]) -> None:
        """`counts` could not be written: the next call takes them as well."""
        self._changed |= {(count.hour // HOUR_S, count.kind, count.key) for count in counts}

    def written(self) -> None:
        """All that was taken is written: forget hours that are over."""
        if not self._changed and any(hour < int(time.time()) // HOUR_S for hour, _, _ in self._totals):
            # As another writer, so that a straggler of a past hour adds to its count.
            self._totals.clear()
            self._writer = uuid.uuid4().hex


def _binned(event: tuple[Any, ...]) -> tuple[Any, ...]:
    """A request as it is counted with others like it: its confidence and its latency as bins."""
    *before, student, seen, latency_ms, nano = event
    own = None if student is None else (student[0], confidence_bin(student[1]))
    return *before, own, seen, latency_bin(latency_ms), nano


def _explode(event: tuple[Any, ...]) -> Iterator[tuple[str, str, int]]:
    if len(event) == 2:
        yield (*event, 1)
        return
    source, intent, cached, deferred, accepted, own, seen, latency, nano = event
    yield "requests", "all", 1
    yield "source", source, 1
    yield "intent", intent or "", 1
    for name, flag in (("cached", cached), ("deferred", deferred), ("accepted", accepted)):
        if flag:
            yield "flag", name, 1
    if cached:
        yield "cached", source, 1
    if own is not None:
        # Drift compares requests with requests, and distinct texts with distinct texts.
        for unit in UNITS[:1] if seen else UNITS:
            yield f"student_intent_{unit}", own[0], 1
            yield f"student_confidence_{unit}", str(own[1]), 1
    yield "latency_all", str(latency), 1
    if not deferred:
        yield "latency_local", str(latency), 1
    if nano:
        yield "cost", "nano", nano
