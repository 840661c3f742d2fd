"""The circuit breaker: a teacher that keeps failing is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from inference.common.fork import ProcessLocal, register
from inference.common.logs import Condition
from inference.common.reentrant import reentrant_lock
from inference.teachers.teacher import Reply, TeacherError


class Breaker(ProcessLocal):
    """Opens after `failures` calls in a row that failed, or `unusable` answers in a row that named no intent.

    After `rest_s` seconds it lets a single probe through. A call that fails for its query, or that was never made, says
    nothing of the teacher. `name` is the teacher's, for the log. The lock is held over the state alone, never over a
    call.
    """

    def __init__(
        self,
        failures: int = 5,
        rest_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        name: str = "a teacher",
        unusable: int = 10,
    ) -> None:
        self._name = name
        self._resting = Condition("teachers", f"{name} is asked again")
        self._most, self._rest_s, self._now = {"failed": failures, "unusable": unusable}, rest_s, now
        self._in_a_row = dict.fromkeys(self._most, 0)
        self._open_until: float | None = None
        self._lock = reentrant_lock()
        register(self)

    @property
    def state(self) -> str:
        """closed, open, or half-open (a probe may go, or is on its way)."""
        if self._open_until is None:
            return "closed"
        return "open" if self._now() < self._open_until else "half-open"

    def allows(self) -> bool:
        """Whether a call may go. One that may must be followed by one of the following."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._now() < self._open_until:
                return False
            self._open_until = self._now() + self._rest_s  # the next probe, should this one never report
            return True

    def answered(self, reply: Reply) -> None:
        """The teacher answered. One that declines a query works; one that names no intent may not."""
        if reply.label is None and reply.again:
            self._count("unusable")
        else:
            self.record(True)

    def raised(self, error: BaseException) -> None:
        """The call raised what it did."""
        if isinstance(error, TeacherError) and error.of_query:
            self.spare()
        else:
            self.record(False)

    def spare(self) -> None:
        """A call told nothing of the teacher: the next one may tell."""
        with self._lock:
            if self._open_until is not None:
                self._open_until = self._now()

    def record(self, worked: bool) -> None:
        """Say how a call went."""
        if not worked:
            self._count("failed")
            return
        with self._lock:
            self._in_a_row = dict.fromkeys(self._most, 0)
            self._open_until = None
        self._resting.end()

    def _count(self, what: str) -> None:
        with self._lock:
            self._in_a_row[what] += 1
            in_a_row = self._in_a_row[what]
            opens = in_a_row >= self._most[what] or self._open_until is not None
            if opens:
                self._open_until = self._now() + self._rest_s
        if opens:
            how = "failed" if what == "failed" else "named no intent"
            self._resting.begin("%s %s %s times in a row and rests %g s", self._name, how, in_a_row, self._rest_s)
