"""The circuit breaker: a teacher that keeps failing is left alone for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from inference.common.fork import ProcessLocal, register
from inference.common.logs import Condition


class Breaker(ProcessLocal):
    """Opens after `failures` calls in a row that failed; after `rest_s` seconds lets a single probe through.

    `name` is the teacher's, for the log. The lock is held over the state alone, never over a call.
    """

    def __init__(
        self,
        failures: int = 5,
        rest_s: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        name: str = "a teacher",
    ) -> None:
        self._name = name
        self._resting = Condition("teachers", f"{name} is asked again")
        self._most, self._rest_s, self._now = failures, rest_s, now
        self._failed = 0
        self._open_until: float | None = None
        self._lock = threading.Lock()
        register(self)

    @property
    def state(self) -> str:
        """closed, open, or half-open (a probe may go, or is on its way)."""
        if self._open_until is None:
            return "closed"
        return "open" if self._now() < self._open_until else "half-open"

    def allows(self) -> bool:
        """Whether a call may go. One that may must be followed by `record`."""
        with self._lock:
            if self._open_until is None:
                return True
            if self._now() < self._open_until:
                return False
            self._open_until = self._now() + self._rest_s  # the next probe, should this one never report
            return True

    def record(self, worked: bool) -> None:
        """Say how a call went."""
        with self._lock:
            self._failed = 0 if worked else self._failed + 1
            if worked:
                self._open_until = None
            elif self._failed >= self._most:
                self._open_until = self._now() + self._rest_s
            failed = self._failed
        if worked:
            self._resting.end()
        elif failed >= self._most:
            self._resting.begin("%s failed %s times in a row and rests %g s", self._name, failed, self._rest_s)
