"""Looks at the log from time to time: is the promise of what serves kept, and if it is not, what still holds?

All that it knows is in the log, so every process on it comes to the same conclusion, also after a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from inference.bundle.manifest import Manifest
from inference.log.audits import Audits
from inference.log.counts import HOUR_S
from inference.log.marks import BY_BUNDLE, KIND, Alarm, End, Mark, Marks, read_marks
from inference.log.promise import Promise
from inference.log.reader import Reader
from inference.log.thresholds import Thresholds, accept_above, stricter

RECENT = "recent_since"  # in a bundle's lineage: since when it was calibrated on enough requests to judge anew


class Serving(NamedTuple):
    """What serves: the question that it answers, its target, the stricter ones, how new its calibration is, and the
    intents with targets of their own.
    """

    question: str
    target: float
    stricter: tuple[float, ...]
    recent_since: float
    own: tuple[str, ...] = ()

    @classmethod
    def of(cls, manifest: Manifest, question: str, target: float | None) -> Serving | None:
        """A bundle at a target, by default its own; None where that is not certified, so that nothing is accepted."""
        target = manifest.target if target is None else target
        if accept_above(manifest, target) is None:
            return None
        recent_since, own = float(manifest.lineage.get(RECENT) or 0.0), tuple(one.intent for one in manifest.intents)
        return cls(question, target, tuple(stricter(manifest, target)), recent_since, own)


class Lookout:
    """Watches one log for the versions in `home`, which is models/<name>; `note` writes a mark. For one thread."""

    def __init__(self, log: Reader, home: Path, note: Callable[[str, str], None] = lambda kind, key: None) -> None:
        self._log, self._note, self._thresholds = log, note, Thresholds(home)
        self._marks: set[Mark] = set()
        self._marked_until = 0.0
        self._about: Any = None
        self.alarm: Alarm | None = None
        self.promise: Promise | None = None
        self.audits: Audits | None = None

    def read_marks(self, serving: Serving, now: float) -> None:
        """See what was marked so far, without a look at answers. Raises LogError if the log cannot be read."""
        self._marks |= read_marks(self._log.read_counts(self._marked_until // HOUR_S * HOUR_S - HOUR_S, kind=KIND))
        self._marked_until = now
        self.alarm = self._mine(serving).broken(serving.target, serving.recent_since)

    def look(self, serving: Serving, now: float) -> None:
        """Read what is new. Raises LogError if the log cannot be read."""
        self.read_marks(serving, now)
        marks = self._mine(serving)
        about = (serving.question, serving.target, serving.stricter, marks.began)
        if self.promise is None or self.audits is None or self._about != about:
            self._about = about
            self.promise = Promise(serving.question, serving.target, serving.stricter, self._thresholds.keeps)
            self.audits = Audits(self._log, serving.question, marks.began)
        level = serving.target if self.alarm is None else self.alarm.to
        answers = [one for one in self.audits.new(now) if self._thresholds.pooled(one, serving.own)]
        for alarm in self.promise.add(answers, level, marks.last_alarm):
            self._mark(alarm)
        marks = self._mine(serving)
        self.alarm = marks.broken(serving.target, serving.recent_since)
        over = None if self.alarm else marks.broken(serving.target)
        if over is not None and marks.began <= over.time:
            self._mark(End(now, serving.question, BY_BUNDLE))

    def _mine(self, serving: Serving) -> Marks:
        return Marks(self._marks, serving.question)

    def _mark(self, mark: Mark) -> None:
        self._marks.add(mark._replace(question=mark.question[:16]))
        self._note(KIND, mark.key)
