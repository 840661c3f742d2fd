"""The guard over one run of labelling: it stops what no query would fare better at, before all of them have failed."""

from __future__ import annotations

import collections

from inference.common.errors import MonokuError
from inference.teachers.teacher import TeacherError

UNUSABLE_IN_A_ROW = 10
OF_THE_QUERY = ("missing", "size", "filtered")  # kinds of TeacherError that say nothing about the next query


class Stopped(MonokuError):
    """Labelling ends early: the cap is reached, or no query would fare better. The message says why."""


class Streak:
    """Counts unusable outcomes in a row, over all workers and batches; one usable answer starts it anew.

    An outcome is a query that was refused, or that failed after all its tries. `reason` is why the run is to end, None
    while it may go on; the first one stays.
    """

    def __init__(self, most: int = UNUSABLE_IN_A_ROW) -> None:
        self.most = most
        self.reason: str | None = None
        self._reasons: list[str] = []

    def usable(self) -> None:
        """An answer named an intent."""
        self._reasons.clear()

    def unusable(self, reason: str) -> None:
        """A query ended without a label."""
        self._reasons.append(reason)
        if len(self._reasons) >= self.most:
            [(common, _)] = collections.Counter(self._reasons).most_common(1)
            self.end(f"{len(self._reasons)} queries in a row got no usable answer, most often: {common}")

    def failed(self, error: TeacherError) -> None:
        """A query's call failed for good."""
        if error.fatal:
            self.end(str(error))
        elif error.kind not in OF_THE_QUERY:
            self.unusable(str(error))

    def end(self, reason: str) -> None:
        """No further call is to be made."""
        self.reason = self.reason or reason

    def check(self) -> None:
        """To be called before every call. Raises Stopped if the run is to end."""
        if self.reason is not None:
            raise Stopped(self.reason)
