"""What all processes on a log must know of a promise: that it broke, and that it holds again.

Each is a count of the log, whose key says what happened: so it is there for every process, at every start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from inference.log.rows import KEPT, Count

KIND = KEPT
NOTHING = 1.0  # the target of answers that none can keep: all is deferred
BY_HAND, BY_BUNDLE = "hand", "bundle"


class Alarm(NamedTuple):
    """At `time` answers above the threshold for `target` were found to break it; those above that for `to` were not."""

    time: float
    question: str
    target: float
    to: float

    @property
    def key(self) -> str:
        return f"alarm {self.time!r} {self.question[:16]} {self.target!r} {self.to!r}"


class End(NamedTuple):
    """From `time` on answers count anew: a person said so, or a bundle serves that was calibrated since the alarm."""

    time: float
    question: str
    by: str

    @property
    def key(self) -> str:
        return f"end {self.time!r} {self.question[:16]} {self.by}"


Mark = Alarm | End


def read_marks(counts: Iterable[Count]) -> set[Mark]:
    """The marks among counts. What a later version may have written is passed over."""
    found: set[Mark] = set()
    for count in counts:
        match count.key.split(" ") if count.kind == KIND else ():
            case ["alarm", time, question, target, to]:
                found.add(Alarm(float(time), question, float(target), float(to)))
            case ["end", time, question, by]:
                found.add(End(float(time), question, by))
    return found


class Span(NamedTuple):
    """A suspension of the promise at `target`: when it began, and when it ended, None while it lasts."""

    since: float
    until: float | None
    target: float


class Marks:
    """The marks of one question."""

    def __init__(self, marks: Iterable[Mark], question: str) -> None:
        mine = [mark for mark in marks if mark.question[:16] == question[:16]]
        self._alarms = sorted(mark for mark in mine if isinstance(mark, Alarm))
        self._ends = [mark for mark in mine if isinstance(mark, End)]

    @property
    def began(self) -> float:
        """Since when answers count; 0 from the first."""
        return max((end.time for end in self._ends), default=0.0)

    @property
    def last_alarm(self) -> float:
        """When the last alarm came; 0 where there was none."""
        return max((alarm.time for alarm in self._alarms), default=0.0)

    @property
    def _by_hand(self) -> float:
        return max((end.time for end in self._ends if end.by == BY_HAND), default=0.0)

    @property
    def unended(self) -> bool:
        """Whether there is an alarm that no person ended: a bundle calibrated before it may be suspended still."""
        return self.last_alarm > self._by_hand

    def spans(self) -> list[Span]:
        """The suspensions, each from its first alarm to the end after that."""
        found: list[Span] = []
        for alarm in self._alarms:
            if not found or (found[-1].until is not None and alarm.time > found[-1].until):
                until = min((end.time for end in self._ends if end.time >= alarm.time), default=None)
                found.append(Span(alarm.time, until, alarm.target))
        return found

    def open(self) -> Alarm | None:
        """The first alarm since answers count, with what still holds after all later ones; None where there is none."""
        first = next((alarm for alarm in self._alarms if alarm.time > self.began), None)
        return None if first is None else self.broken(first.target, self.began)

    def broken(self, target: float, recent_since: float = 0.0) -> Alarm | None:
        """The alarm for which the promise at `target` is suspended now, None where it is not; `to` is what still holds.

        It ends by hand for every bundle, else for those that were calibrated on enough requests since (`recent_since`:
        since when). Of several alarms the strictest counts, and those of the threshold that it leads to.
        """
        alarms = [alarm for alarm in self._alarms if alarm.time > max(self._by_hand, recent_since)]
        found: Alarm | None = None
        level = target
        while here := [alarm for alarm in alarms if alarm.target == level and alarm.to > level]:
            level = max(alarm.to for alarm in here)
            found = (found or here[0])._replace(target=target, to=level)
        return found
