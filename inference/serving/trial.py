"""A bundle on trial: it answers requests of the sample beside the serving one, and callers of a canary's share."""

from __future__ import annotations

import collections
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.bundle import trial
from inference.bundle.redact import Redactor
from inference.cache.memory import Entry
from inference.common.fork import ProcessLocal, register
from inference.common.logs import Condition
from inference.common.workers import Worker
from inference.log.decision_log import DecisionLog
from inference.log.rows import SERVING, TRIAL, TrialAnswer
from inference.serving.answer import Request
from inference.serving.policy import Policy
from inference.serving.tier import NO_GUESS, Tier

MOST_WAITING = 256
IDLE_S = 60.0  # that its thread waits for the next request: to start one costs the caller more
_log = logging.getLogger("monoku.serving")


class OnTrial:
    """One loaded trial. Immutable: another share is another one.

    `serving` is what it answers beside. `share` of the requests get its answers, for `beside` the log alone does.
    """

    __slots__ = ("beside", "serving", "share", "tier", "version")

    def __init__(self, version: str, share: float, tier: Tier, serving: Tier, beside: Beside) -> None:
        self.version, self.share, self.tier, self.serving, self.beside = version, share, tier, serving, beside

    def claim(self, request: Request, drawn_anew: Callable[[float], float]) -> None:
        """Have the canary answer a request, if it is of its share.

        By its kept number, so that a retry finds the same bundle; drawn anew from that, for a low number itself says
        that a request is sampled: the canary's requests are to be sampled as often as all others.
        """
        if self.share and drawn_anew(request.draw.number) < self.share:
            request.canary, request.bundle_id = self.tier, self.tier.bundle_id
            if isinstance(request.guess, Entry) and request.guess.bundle_id is not None:
                request.guess = NO_GUESS  # what the serving bundle said of this text is not the canary's answer


class Beside(ProcessLocal):
    """Has both bundles answer sampled requests, on a thread of its own, and keeps what they say in the log.

    Both, whoever answered the caller and whether from a cache, so that they are compared on the same texts and their
    times on the same thread. `most` requests wait at most; more are dropped and counted.
    """

    def __init__(self, log: DecisionLog | None, redact: Redactor, most: int = MOST_WAITING) -> None:
        self._log, self._redact, self._most = log, redact, most
        self.worker = Worker("monoku-trial", self._step, finish=self._step)
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        """What waits is the parent's."""
        self._waiting: collections.deque[tuple[Request, OnTrial]] = collections.deque()
        self.counts: collections.Counter[str] = collections.Counter(answered=0, dropped=0, failed=0)

    def put(self, request: Request, on_trial: OnTrial) -> None:
        """Have both answer a request some time soon."""
        if self._log is None:
            return
        if len(self._waiting) >= self._most:
            self.counts["dropped"] += 1
            return
        self._waiting.append((request, on_trial))
        self.worker.wake()
        self.worker.start()

    def _step(self) -> float:
        while self._waiting:
            with contextlib.suppress(IndexError):  # the next thread may be at work already
                self._answer(*self._waiting.popleft())
        return IDLE_S

    def _answer(self, request: Request, on_trial: OnTrial) -> None:
        try:
            redacted = self._redact(request.text) if request.redacted is None else request.redacted
            for role, tier in ((SERVING, on_trial.serving), (TRIAL, on_trial.tier)):
                self._keep(request.draw.row_id, role, tier, redacted)
            self.counts["answered"] += 1
        except Exception:  # a model may fail at run time, a redactor is the application's own
            self.counts["failed"] += 1
            _log.debug("a request could not be answered beside", exc_info=True)

    def _keep(self, row_id: str, role: str, tier: Tier, redacted: str) -> None:
        started = time.perf_counter()
        guess = tier.guess(redacted)
        took_ms = (time.perf_counter() - started) * 1000
        row = (row_id, time.time(), role, tier.bundle_id, guess.intent, guess.confidence, guess.accepted, guess.source)
        if self._log is not None:
            self._log.put(TrialAnswer(*row, took_ms))


class Trials:
    """Loads what `root`, models/<name>, has on trial. A trial that cannot be loaded is told once, and changes nothing.

    For the thread that watches for bundles; `state` may be asked from any.
    """

    def __init__(self, root: Path, policy: Policy, redactor: Redactor | None) -> None:
        self._root, self._policy, self._redactor = root, policy, redactor
        self.beside: Beside | None = None
        self.refused: str | None = None
        self._tried: Any = None
        self._tier: tuple[str, Tier] | None = None
        self._refusing = Condition("serving", "nothing on trial is refused any more")

    def look(self, serving: Tier | None, suspended: bool, look_of: Callable[[Path], Any]) -> OnTrial | None:
        """What is on trial beside `serving`, None where nothing is. While the promise is suspended, for no caller.

        `look_of` tells a folder from what it was: a refused version is tried again once its files have changed.
        """
        try:
            found = trial.on_trial(self._root) if serving is not None and self.beside is not None else None
            if found is None or serving is None or self.beside is None:
                self._tier = None
                self._allow()
                return None
            tier = self._loaded(found.version, serving, look_of)
        except Exception as error:
            self._refuse(error)
            return None
        if tier is None:
            return None
        return OnTrial(found.version, 0.0 if suspended else found.share, tier, serving, self.beside)

    def _loaded(self, version: str, serving: Tier, look_of: Callable[[Path], Any]) -> Tier | None:
        if self._tier is not None and self._tier[0] == version:
            return self._tier[1]
        seen = look_of(self._root / version)
        if self._tried == seen:
            return None
        self._tier, self._tried = None, seen
        tier = Tier(self._root / version, self._policy, self._redactor)
        if set(tier.taxonomy.names) != set(serving.taxonomy.names):
            raise ValueError(f"{version} has other intents than the serving bundle: the two cannot be compared")
        self._tier = version, tier
        self._allow()
        return tier

    def _allow(self) -> None:
        self.refused = self._tried = None
        self._refusing.end()

    def _refuse(self, error: Exception) -> None:
        self.refused = str(error) or type(error).__name__
        self._refusing.begin("a trial is refused, nothing changes: %s", self.refused, about=self.refused)


def state(on_trial: OnTrial | None, trials: Trials) -> dict[str, Any] | None:
    """What is on trial, or why it is not, and what became of the requests that were to be answered beside."""
    counts = dict(trials.beside.counts) if trials.beside is not None else {}
    if on_trial is None:
        return {"refused": trials.refused, **counts} if trials.refused else None
    found = {"version": on_trial.version, "bundle_id": on_trial.tier.bundle_id, "share": on_trial.share}
    return {**found, "refused": None, **counts}
