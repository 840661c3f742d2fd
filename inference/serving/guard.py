"""The guard of the promise: it has what serves accept less, or nothing, once answers were found to break it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from inference.common.fork import ProcessLocal, register
from inference.common.logs import Condition
from inference.common.reentrant import reentrant_lock
from inference.common.workers import Worker
from inference.log.decision_log import DecisionLog, LogError
from inference.log.limits import USUAL
from inference.log.lookout import Lookout, Serving
from inference.log.marks import NOTHING, Alarm
from inference.log.rates import Seen
from inference.log.thresholds import not_watched
from inference.serving.pace import Pace
from inference.serving.policy import Policy
from inference.serving.tier import Tier

LOOK_EVERY_S = 10.0
_log = logging.getLogger("monoku.promise")
State = Mapping[str, Any]


class Guard(ProcessLocal):
    """Looks at the log every `every_s` seconds on a thread of its own; `serves` says what may serve, at any time.

    `home` is models/<name>, with the versions whose answers are in the log. `question` is that of the log's rows, by
    default the bundle's. Without `teachers` nobody says whether an
    answer is right. `on_alarm` is called with the state, on that thread, for an alarm that comes while this process
    runs.
    """

    def __init__(
        self,
        log: DecisionLog | None,
        home: Path,
        policy: Policy,
        teachers: bool = True,
        on_alarm: Callable[[State], object] | None = None,
        question: str | None = None,
        every_s: float = LOOK_EVERY_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._log, self._home, self._policy, self._question = log, home, policy, question
        self._off = _why_never(log, policy, teachers)
        self.pace = Pace(log, policy, self._off)
        self._on_alarm, self._every_s, self._now = on_alarm, every_s, now
        self._unread = Condition("promise", "the log can be read again: the promise is watched")
        self._broken = Condition("promise", "the promise is no longer suspended")
        self._tier: Tier | None = None
        self._limited: tuple[Tier, float, Tier] | None = None
        self._begin()
        self.worker = Worker("monoku-promise", self._step, pauses_s=(every_s, 3 * every_s))
        register(self)

    def _begin(self) -> None:
        self._reading = reentrant_lock()
        self._lookout = Lookout(self._log, self._home, self._log.note) if self._log and not self._off else None
        self._alarm: Alarm | None = None
        self._unread_since: float | None = None

    def before_fork(self) -> None:
        """No log may be open in a child; a server that hangs is no file, and is not waited for."""
        self._held = self._reading.acquire(timeout=USUAL.hung_s)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._held:
            self._reading.release()

    def after_fork(self) -> None:
        """A child reads for itself; until it has, it does as its parent did."""
        alarm = self._alarm
        self._begin()
        self._alarm = alarm

    def begin(self, tier: Tier | None) -> Tier | None:
        """What may serve of `tier`, by what is marked in the log already: before the first request of a process."""
        self._tier, serving = tier, self._serving(tier)
        if self._lookout is not None and tier is not None:
            try:
                with self._reading:
                    self.pace.read(self._asked(tier), self._now())
                    if serving is not None:
                        self._lookout.read_marks(serving, self._now())
            except LogError as error:
                self._unreadable(error)
            self._alarm = self._lookout.alarm
        return self.serves(tier)

    def serves(self, tier: Tier | None) -> Tier | None:
        """What may serve of `tier`: itself, or less of it while the promise is suspended."""
        if tier is not self._tier:
            self._tier = tier
            self.worker.wake()
        alarm = self._alarm
        if tier is None or alarm is None or self._policy.on_broken == "warn":
            return tier
        level = NOTHING if self._policy.on_broken == "defer" else alarm.to
        limited = self._limited
        if limited is None or limited[0] is not tier or limited[1] != level:
            self._limited = limited = tier, level, tier.limited(level if level < NOTHING else None)
        return limited[2]

    def start(self) -> None:
        """Have the thread running, where there is something to watch."""
        if self._lookout is not None:
            self.worker.start()

    def _step(self) -> float:
        lookout, tier = self._lookout, self._tier
        serving = self._serving(tier)
        if lookout is None or tier is None:
            self._alarm = None
            return self._every_s
        try:
            with self._reading:
                self._look(lookout, tier, serving)
        except LogError as error:
            self._unreadable(error)
            return self._every_s
        self._unread_since = None
        self._unread.end()
        if serving is None:
            self._alarm = None
        else:
            self._tell(lookout.alarm)
        return self._every_s

    def _look(self, lookout: Lookout, tier: Tier, serving: Serving | None) -> None:
        now = self._now()
        if serving is None:
            self.pace.look(self._asked(tier), None, now)
            return
        lookout.look(serving, now)
        promise = lookout.promise
        if promise is not None:
            counts, evidence = promise.of(tier.bundle_id), promise.evidence
            self.pace.look(serving.question, Seen(*counts, serving.target, evidence, lookout.alarm is not None), now)

    def _asked(self, tier: Tier) -> str:
        return self._question or tier.taxonomy.question_id()

    def _serving(self, tier: Tier | None) -> Serving | None:
        if self._why_off(tier) or tier is None:
            return None
        manifest = tier.classifier.bundle.manifest
        return Serving.of(manifest, self._asked(tier), self._policy.target)

    def _why_off(self, tier: Tier | None) -> str:
        if self._off or tier is None:
            return self._off or "there is no bundle yet"
        if not tier.local_first:
            return f"the strategy {self._policy.strategy} accepts nothing by a certificate"
        manifest = tier.classifier.bundle.manifest
        if Serving.of(manifest, "", self._policy.target) is not None:
            return ""
        alone = "no certificate: nothing is accepted"
        return f"{alone} but {', '.join(own)}, which are not watched" if (own := not_watched(manifest)) else alone

    def _unreadable(self, error: LogError) -> None:
        self._unread_since = self._unread_since or self._now()
        self._unread.begin("the promise is not watched: %s", error)

    def _tell(self, alarm: Alarm | None) -> None:
        before, self._alarm = self._alarm, alarm
        if alarm is None:
            self._broken.end()
        elif before is None or before.to != alarm.to:
            state = self.state()
            self._broken.begin("%s", state["why"], about=alarm)
            if self._on_alarm is not None:
                try:
                    self._on_alarm(state)
                except Exception:  # the application's own
                    _log.exception("on_alarm failed")

    def state(self) -> dict[str, Any]:
        """The promise: `state`, with `why` and `since`, and what was seen.

        It is watching, suspended, blind (nobody says whether answers are right) or off. `accepts_at` is the target
        whose threshold holds now, None where nothing is accepted.
        """
        off, lookout, alarm = self._why_off(self._tier), self._lookout, self._alarm
        if off or lookout is None or self._tier is None:
            return {"state": "off", "why": off}
        target = self._tier.classifier.certificate
        found: dict[str, Any] = {"state": "watching", "why": "", "target": target and target.target}
        found["accepts_at"] = found["target"]
        found["not_watched"] = not_watched(self._tier.classifier.bundle.manifest)
        audits, promise = lookout.audits, lookout.promise
        blind = self._unread_since or (audits.blind_since if audits else None)
        if alarm is not None:
            level = {"warn": alarm.target, "defer": NOTHING}.get(self._policy.on_broken, alarm.to)
            found |= {"state": "suspended", "why": _why(alarm, level), "since": alarm.time}
            found["accepts_at"] = level if level < NOTHING else None
        elif blind is not None:
            found |= {"state": "blind", "why": "sampled answers are not audited, or not read", "since": blind}
        return found | {"blind_since": blind, **(promise.figures() if promise else {})}


def _why_never(log: DecisionLog | None, policy: Policy, teachers: bool) -> str:
    """Why nobody says of a sample whether accepted answers are right, "" where somebody does."""
    if log is None:
        return "there is no decision log"
    if not teachers:
        return "there is no teacher"
    if policy.deferral == "never":
        return "the policy never defers"
    return "" if policy.sample_rate else "sample_rate is 0"


def _why(alarm: Alarm, level: float) -> str:
    does = "nothing is accepted" if level >= NOTHING else f"only answers above the threshold for {level:g} are accepted"
    does = "a warning is all, by on_broken" if level == alarm.target else does
    return f"the promise of {alarm.target:g} is suspended, for audited answers broke it: {does}"
