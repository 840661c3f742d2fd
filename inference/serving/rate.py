"""How large a share of the queries teachers may be asked."""

from __future__ import annotations

from inference.common.fork import ProcessLocal, register
from inference.common.reentrant import reentrant_lock

BURST = 20.0  # deferrals that a rate lets through in a row, once it has earned them


class Rate(ProcessLocal):
    """Lets a deferral through for every 1/`share` queries: of n, at most `share` of n + BURST; none where it is 0."""

    def __init__(self, share: float) -> None:
        # A process that begins, or begins again, has earned no more than a share.
        self._share, self._credit = share, BURST * share
        self._lock = reentrant_lock()
        register(self)

    def earn(self) -> None:
        """Count a query, just before it is asked whether it may be deferred: what exceeds BURST is lost."""
        if self._share < 1:
            with self._lock:
                self._credit = min(BURST, self._credit + self._share)

    def allows(self) -> bool:
        """Whether one more deferral may go."""
        if self._share == 1:
            return True
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True
