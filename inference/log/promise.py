"""The promise of one question at work: a detector for each certified threshold, over the answers of all bundles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from inference.log.audits import Audited
from inference.log.detector import LIMIT, SUSPECT, Detector
from inference.log.marks import NOTHING, Alarm
from inference.log.sequence import interval

Keeps = Callable[[Audited, float, bool], bool]


class Promise:
    """Watches accepted answers at `target`, and those of them that stricter targets would have accepted as well.

    `keeps` says whether an answer lies above the threshold for a target, of its own bundle, and takes what is to be
    said where that bundle is gone: such an answer counts at `target`. One that a looser target accepted does not. A
    publish changes nothing:
    what serves must keep its target, whichever bundle that is.
    """

    def __init__(self, question: str, target: float, stricter: Sequence[float], keeps: Keeps) -> None:
        self.question, self.target, self._keeps = question, target, keeps
        self.detectors = {one: Detector(one) for one in sorted({target, *stricter})}
        self.agreed = self.asked = 0
        self.by_bundle: Counter[str] = Counter()
        self._agreed: Counter[str] = Counter()

    def add(self, answers: Iterable[Audited], level: float, quiet_until: float = 0.0) -> list[Alarm]:
        """Take in answers in the order of time while those above the threshold for `level` serve; the alarms found.

        What came up to `quiet_until`, the last alarm that is known already, is evidence but raises none.
        """
        alarms: list[Alarm] = []
        for answer in answers:
            self.agreed, self.asked = self.agreed + answer.agreed, self.asked + 1
            self.by_bundle[answer.bundle_id] += 1
            self._agreed[answer.bundle_id] += answer.agreed
            for target, detector in self.detectors.items():
                if self._keeps(answer, target, target == self.target):
                    detector.add(answer.agreed)
            serving = self.detectors.get(level)
            # While the promise is suspended already, another step is no false alarm.
            if serving is None or answer.time <= quiet_until:
                continue
            if serving.evidence >= (LIMIT if level == self.target else SUSPECT):
                alarms.append(Alarm(answer.time, self.question, level, self._next(level)))
                level = alarms[-1].to
        return alarms

    def _next(self, level: float) -> float:
        """The loosest stricter target that nothing speaks against."""
        found = self.detectors.items()
        return min((one for one, detector in found if one > level and detector.evidence < SUSPECT), default=NOTHING)

    @property
    def evidence(self) -> float:
        """What speaks against the promise; from `LIMIT` on it is an alarm."""
        return self.detectors[self.target].evidence

    def of(self, bundle_id: str) -> tuple[int, int]:
        """How many audited answers of a bundle a teacher agreed with, and how many there are."""
        return self._agreed[bundle_id], self.by_bundle[bundle_id]

    def figures(self) -> dict[str, Any]:
        """What it saw: how often a teacher agreed, with an interval that holds at every look, and the evidence."""
        return {
            "audited": self.asked,
            "agreed": self.agreed,
            "interval_95": interval(self.agreed, self.asked, self.target),
            "evidence": self.evidence,
            "limit": LIMIT,
            "bundles": dict(list(self.by_bundle.items())),
        }
