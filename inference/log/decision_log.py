"""The decision log: what was asked, what was answered, by whom, and what it cost.

A background thread writes rows to SQLite or PostgreSQL, and to a spill file while the database is down: classification
never blocks on logging. Needs the extra `log`, and `postgres` for PostgreSQL.
"""

from __future__ import annotations

import collections
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from inference.common.fork import ProcessLocal, attempt, notice, register
from inference.common.logs import Condition
from inference.common.reentrant import reentrant_lock
from inference.common.text import Forgotten
from inference.common.workers import Worker
from inference.log.counts import DAY_S, Tally
from inference.log.database import LogError, Store
from inference.log.limits import USUAL, Limits
from inference.log.queue import Entry, Queue
from inference.log.reader import Reader
from inference.log.retention import Retention
from inference.log.rows import Correction, Count, Decision, Row, TeacherAnswer, TrialAnswer
from inference.log.spill import Sink

__all__ = ["Correction", "Count", "Decision", "DecisionLog", "LogError", "TeacherAnswer"]

TICK_S = 1.0  # rows that nobody waits for, and counts, are written so often
ROWS_AT_ONCE = 1000


class DecisionLog(ProcessLocal, Reader):
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
        limits: Limits = USUAL,
    ) -> None:
        if type(queue_size) is not int or queue_size < 1:
            raise ValueError(f"queue_size must be a whole number of at least 1, got {queue_size!r}")
        self._store = Store(url, limits)
        self.name = self._store.name
        self._sink = Sink(self._store, None if spill is None else Path(spill).absolute())
        self._retention = Retention(self._sink, retention_days, now)
        self._queue = Queue(queue_size)
        self._dropping = Condition("log", f"the decision log {self.name} drops no more rows")
        # The first row waits for a moment, as the later ones do: a process that forks as soon as it has started forks
        # a writer that is at rest.
        self.worker = Worker("monoku-log", self._turn, finish=self._finish, first_s=TICK_S)
        self._begin()
        register(self)

    def _begin(self) -> None:
        """The state of a process."""
        self._queue = Queue(self._queue.size)
        self._retention.begin()
        self._tally = Tally()
        self._stats: collections.Counter[str] = collections.Counter()
        self._dropped: collections.Counter[str] = collections.Counter()
        self._healthy = True
        self._drops = False
        self._tried = False
        self._writing = reentrant_lock()

    # What classification calls: none of it touches a disk or a network.

    def count(
        self,
        source: str,
        intent: str | None,
        cached: bool,
        deferred: bool,
        accepted: bool,
        student: tuple[str, float] | None,
        latency_ms: float,
        cost_nano: int = 0,
        seen: bool = False,
    ) -> None:
        """Count one request, of `cost_nano` nano-dollars. What was not deferred was answered locally, or from a cache.

        `student`: the student's own intent and confidence, None where nobody knows; `seen`: for a text seen before.
        """
        notice()
        self._tally.request(source, intent, cached, deferred, accepted, student, seen, latency_ms, cost_nano)
        if not self.worker.running:
            self.worker.start()

    def note(self, kind: str, key: str) -> None:
        """Count something else, for all processes to read."""
        notice()
        self._tally.note(kind, key)
        self.worker.start()

    def put(self, row: Decision | TeacherAnswer | Correction | TrialAnswer) -> None:
        """Have a row written some time soon."""
        notice()
        self._add(Entry(row))
        if len(self._queue) > self._queue.size // 2:
            self.worker.wake()
        self.worker.start()

    def keep(self, row: Decision | TeacherAnswer | Correction) -> Future[None]:
        """Have a row written now. Done once it is committed, or fsynced in the spill folder.

        Ends with LogError where neither worked; the row is not dropped then, and is tried again.
        """
        notice()
        kept: Future[None] = Future()
        kept.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._add(Entry(row, kept))
        self.worker.wake()
        if not self.worker.start():  # as when the interpreter is going down
            attempt(self._turn)
        return kept

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write worked, be it into the spill folder. The first call makes an attempt."""
        notice()
        if not self._tried:
            self.worker.wake()
        self.worker.start()
        return self._healthy

    def check(self) -> None:
        """Write to the database once, and read back what was spilled. Raises LogError if it cannot be written.

        Rows go to the spill folder then, and wait in memory if that fails too.
        """
        notice()
        self._step(last=True)
        if self._sink.error is not None:
            raise LogError(self._sink.error)

    def stats(self) -> dict[str, Any]:
        """This process's rows: waiting, written, spilled, read back, expired, dropped by value; and the last error."""
        notice()
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
        notice()
        if (self._queue or self._tally.waiting) and not self.worker.start():
            attempt(self._finish)
        self.worker.stop(timeout_s)

    def secret(self) -> bytes:
        """A secret that all processes on this log share, kept in it. Makes the log if need be. Raises LogError."""
        notice()
        return bytes.fromhex(self._store.secret(secrets.token_hex(32)))

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
        if not isinstance(entry.row, Decision | TeacherAnswer | Correction | TrialAnswer):
            expected = "a Decision, TeacherAnswer, Correction or TrialAnswer"
            raise TypeError(f"the log takes {expected}, got {type(entry.row).__name__}")
        dropped = self._queue.put(entry, first)
        if dropped:
            self._dropped[dropped] += 1
            self._drops = True
            self._tally.note("dropped", dropped)

    # The writer.

    def _turn(self) -> float:
        try:
            self._drain()
        finally:
            with self._writing:
                self._retention.apply()
        return TICK_S

    def _finish(self) -> None:
        # A new row starts a new writer by now: what this one does not see any more, that one will.
        self._sink.hurry()
        self._drain(last=True)

    def _drain(self, last: bool = False) -> None:
        while self._step(last):
            pass

    def _step(self, last: bool) -> bool:
        """Write one batch, or read back one chunk of what was spilled; whether to go on at once."""
        self.worker.heed()
        with self._writing:
            entries, counts, error = self._queue.take(ROWS_AT_ONCE), self._tally.take(), None
            try:
                idle = not entries and not counts and self._tried and self._healthy
                worked = idle or self._write([entry.row for entry in entries], counts, last)
                read_back = self._sink.read_back() if worked else 0
                self._stats["read_back"] += read_back
                more = worked and (bool(self._queue) or read_back > 0)
                error = None if worked else LogError(self._sink.error or "the log cannot be written")
                if last and not more:
                    self._sink.let_go()
            except BaseException as failure:  # what nobody thought of: the worker tries again, and nothing is lost
                self._tally.again(counts)
                self._healthy, self._sink.error = False, f"{type(failure).__name__}: {failure}"
                error = LogError(f"the log cannot be written: {self._sink.error}")
                raise
            finally:
                # First: who is told that a row is kept may be forked next, and not by Python's means.
                self._store.rest()
                self._tell(entries, error)
        return more

    def _tell(self, entries: list[Entry], error: LogError | None) -> None:
        """Tell who waits for rows how it went; rows that were not kept wait again."""
        if error is not None:
            for entry in reversed(entries):
                self._add(Entry(entry.row), first=True)
        for entry in entries:
            if entry.kept is not None:
                entry.kept.set_result(None) if error is None else entry.kept.set_exception(error)

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

    def before_fork(self) -> None:
        """Have the writer at rest."""
        self._writing.acquire()
        self._store.close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._writing.release()

    def after_fork(self) -> None:
        """What waits is the parent's to write."""
        self._sink.abandon()
        self._begin()

    def at_exit(self) -> None:
        """See close."""
        self.close()
