"""The decision log: what was asked, what was answered, by whom, and what it cost.

A background thread writes rows to SQLite or PostgreSQL, and to a spill file while the database is down: classification
never blocks on logging. Needs the extra `log`, and `postgres` for PostgreSQL.
"""

from __future__ import annotations

import atexit
import collections
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from inference.common.logs import Condition
from inference.common.text import Forgotten
from inference.log.counts import Tally, confidence_bin, latency_bin
from inference.log.database import LogError, Store
from inference.log.queue import Entry, Queue
from inference.log.retention import DAY_S, Retention
from inference.log.rows import Correction, Count, Decision, Row, TeacherAnswer
from inference.log.spill import Sink

__all__ = ["Correction", "Count", "Decision", "DecisionLog", "LogError", "TeacherAnswer"]

TICK_S = 1.0  # rows that nobody waits for, and counts, are written so often
ROWS_AT_ONCE = 1000


class DecisionLog:
    """The log at `url`: a file (SQLite) or a postgresql:// URL; it is made when the first row is written.

    `queue_size` rows wait at most, plus what was paid for. What the database does not take goes into the folder
    `spill`, and from there into the database as soon as it can be reached, or at the next start. Rows older than
    `retention_days` are deleted; 0 keeps all. Safe to share between threads and across a fork. Raises ValueError for
    any other URL, and where an extra is not installed.
    """

    def __init__(
        self,
        url: str | Path,
        queue_size: int = 10_000,
        spill: str | Path | None = None,
        retention_days: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        if type(queue_size) is not int or queue_size < 1:
            raise ValueError(f"queue_size must be a whole number of at least 1, got {queue_size!r}")
        self._store = Store(url)
        self.name = self._store.name
        self._sink = Sink(self._store, None if spill is None else Path(spill).absolute())
        self._retention = Retention(self._sink, retention_days, now)
        self._queue = Queue(queue_size)
        self._dropping = Condition("log", f"the decision log {self.name} drops no more rows")
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        """The state of a process: made anew after a fork, for what the parent has waiting is the parent's to write."""
        self._queue = Queue(self._queue.size)
        self._retention.begin()
        self._tally = Tally()
        self._stats: collections.Counter[str] = collections.Counter()
        self._dropped: collections.Counter[str] = collections.Counter()
        self._healthy = True
        self._drops = False
        self._tried = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._writing = threading.RLock()

    # What classification calls: none of it touches a disk or a network.

    def count(
        self,
        source: str,
        intent: str | None,
        cached: bool,
        deferred: bool,
        accepted: bool,
        confidence: float | None,
        latency_ms: float,
        cost_nano: int = 0,
    ) -> None:
        """Count one request. `confidence` is the student's own, None where it was not asked; `cost_nano` nano-dollars.

        What was not deferred counts as answered locally, cached answers of a teacher included.
        """
        confidence_place = None if confidence is None else confidence_bin(confidence)
        self._tally.request(
            source, intent, cached, deferred, accepted, confidence_place, latency_bin(latency_ms), cost_nano
        )
        if self._thread is None:
            self._start()

    def put(self, row: Decision | TeacherAnswer | Correction) -> None:
        """Have a row written some time soon."""
        self._add(Entry(row))
        if len(self._queue) > self._queue.size // 2:
            self._wake.set()
        self._start()

    def keep(self, row: Decision | TeacherAnswer | Correction) -> Future[None]:
        """Have a row written now. Done once it is committed, or fsynced in the spill folder.

        Ends with LogError where neither worked; the row is not dropped then, and is tried again.
        """
        kept: Future[None] = Future()
        kept.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._add(Entry(row, kept))
        self._wake.set()
        if not self._start():
            self._drain()  # the interpreter is going down and starts no more threads
        return kept

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write worked, be it into the spill folder. The first call makes an attempt."""
        self._start()
        return self._healthy

    def stats(self) -> dict[str, Any]:
        """This process's rows: waiting, written, spilled, read back, expired, dropped by value; and the last error."""
        return {
            "healthy": self._healthy,
            "error": self._sink.error,
            "waiting": len(self._queue),
            **{name: self._stats[name] for name in ("written", "spilled", "read_back")},
            **self._retention.stats,
            "unreadable": self._sink.spill.unreadable if self._sink.spill else 0,
            "dropped": dict(self._dropped),
        }

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits and stop, within the timeout. Whatever is logged later starts anew.

        Done at exit too, but not in a child of multiprocessing, which leaves without: close there.
        """
        if self._queue:
            self._start()
        thread = self._thread
        if thread is not None:
            self._stop.set()
            self._wake.set()
            thread.join(timeout_s)

    # Reading opens a connection of its own. Times are in seconds since 1970; `until` is not part of the period.

    def read_decisions(self, since: float = 0.0, until: float | None = None) -> Iterator[Decision]:
        """Decisions in the order of time. Raises LogError if the log cannot be read, as all reading does."""
        return self._store.read(Decision, since, until)

    def read_answers(self, since: float = 0.0, until: float | None = None) -> Iterator[TeacherAnswer]:
        """Teachers' answers in the order of time."""
        return self._store.read(TeacherAnswer, since, until)

    def read_corrections(self, since: float = 0.0, until: float | None = None) -> Iterator[Correction]:
        """Corrections in the order of time."""
        return self._store.read(Correction, since, until)

    def read_counts(self, since: float = 0.0, until: float | None = None) -> Iterator[Count]:
        """Counts by hour, kind and key, of all processes together."""
        return self._store.counts(since, until)

    def purge(self, older_than_days: float) -> int:
        """Delete rows and counts that are older; how many went. Raises LogError if the log cannot be written."""
        if not older_than_days >= 0:
            raise ValueError(f"older_than_days must be at least 0, got {older_than_days!r}")
        return self._store.purge(time.time() - older_than_days * DAY_S)

    def forget(self, forgotten: Forgotten) -> dict[str, int]:
        """Delete every row of a text, of those that wait too; how many, by place. Counts stay. Raises LogError."""
        with self._writing:
            self._sink.hurry()
            self._drain(last=True)
            spilled = self._sink.forget(forgotten)
        if not self._healthy:
            raise LogError(f"rows wait in memory, for the log cannot be written: {self._sink.error}")
        return {"log": self._store.forget(forgotten), "spill": spilled}

    def _add(self, entry: Entry, first: bool = False) -> None:
        if not isinstance(entry.row, Decision | TeacherAnswer | Correction):
            expected = "a Decision, TeacherAnswer or Correction"
            raise TypeError(f"the log takes {expected}, got {type(entry.row).__name__}")
        dropped = self._queue.put(entry, first)
        if dropped:
            self._dropped[dropped] += 1
            self._drops = True
            self._tally.note("dropped", dropped)

    # The writer.

    def _start(self) -> bool:
        """Have a writer running; False where the interpreter is too far gone for threads."""
        if self._thread is not None:
            return True
        with self._starting:
            if self._thread is None:
                self._stop = threading.Event()
                thread = threading.Thread(target=self._run, args=(self._stop,), name="monoku-log", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return False
                self._thread = thread
        return True

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._drain()
            with self._writing:
                self._retention.apply()
            self._wake.wait(TICK_S)
            self._wake.clear()
        # From here on a new row starts a new writer: what this one does not see any more, that one will.
        self._thread = None
        self._sink.hurry()
        self._drain(last=True)

    def _drain(self, last: bool = False) -> None:
        while self._step(last):
            pass

    def _step(self, last: bool) -> bool:
        """Write one batch, or read back one chunk of what was spilled; whether to go on at once."""
        with self._writing:
            entries, counts = self._queue.take(ROWS_AT_ONCE), self._tally.take()
            idle = not entries and not counts and self._tried and self._healthy
            worked = idle or self._write([entry.row for entry in entries], counts, last)
            read_back = self._sink.read_back() if worked else 0
            self._stats["read_back"] += read_back
            more = worked and (bool(self._queue) or read_back > 0)
            error = None if worked else LogError(self._sink.error or "the log cannot be written")
            if last and not more:
                self._sink.let_go()
        if error is not None:
            for entry in reversed(entries):
                self._add(Entry(entry.row), first=True)
        for entry in entries:
            if entry.kept is not None:
                entry.kept.set_result(None) if error is None else entry.kept.set_exception(error)
        return more

    def _write(self, rows: list[Row], counts: list[Count], last: bool) -> bool:
        self._tried = True
        drops, self._drops = self._drops, False
        if drops:
            self._dropping.begin("the decision log %s drops rows: more than %s wait", self.name, self._queue.size)
        if self._sink.commit([*rows, *counts]):
            self._tally.written()
            self._stats["written"] += len(rows)
            self._healthy = True
            if not drops:
                self._dropping.end()
            return True
        # Counts stay in memory: as totals, they can wait until the database is back, or the process ends.
        self._tally.again(counts)
        self._healthy = self._sink.save(rows)
        if self._healthy and rows:
            self._stats["spilled"] += len(rows)
            self._tally.note("spilled", "rows", len(rows))
        if self._healthy and last:
            self._sink.save(self._tally.take())
        return self._healthy

    def _after_fork(self) -> None:
        self._sink.abandon()
        self._begin()


_open: weakref.WeakSet[DecisionLog] = weakref.WeakSet()
_held: list[DecisionLog] = []


def _close_all() -> None:
    for log in list(_open):
        log.close()


def _before_fork() -> None:
    # SQLite keeps its locks per process and file, in tables that a child inherits and believes: no connection may be
    # open when a process forks, and the writer must not be at work.
    for log in sorted(_open, key=id):
        log._writing.acquire()
        log._store.close()
        _held.append(log)


def _in_parent() -> None:
    while _held:
        _held.pop()._writing.release()


def _in_child() -> None:
    for log in _held:
        log._after_fork()
    _held.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
