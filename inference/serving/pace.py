"""The pace of the sample: the rate that holds, and why, fixed or set by what the log says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inference.log.decision_log import DecisionLog
from inference.log.rates import WHY, Choice, Rates, Seen
from inference.serving.policy import AUTO, Policy


class Pace:
    """Follows the newest choice in the log where the policy says `auto`, and chooses anew when it is time.

    `off` is why nobody audits answers, "" where somebody does: the rate stays as it began then.
    """

    def __init__(self, log: DecisionLog | None, policy: Policy, off: str = "") -> None:
        self._policy, self._off = policy, off
        self._rates: Rates | None = None
        if log is not None and not off and policy.sample_rate == AUTO:
            self._rates = Rates(log, policy.sample_calls_a_day, log.note)
        self._choice: Choice | None = None
        self._follow: Callable[[float, str], None] = lambda rate, epoch: None

    def followed_by(self, follow: Callable[[float, str], None]) -> None:
        """Have `follow` called with rate and epoch: now, where there is a choice, and at each change."""
        self._follow = follow
        if self._choice is not None:
            follow(self._choice.rate, self._choice.epoch)

    def read(self, question: str, now: float) -> None:
        """Follow what is chosen already. Raises LogError if the log cannot be read, as `look` does."""
        if self._rates is not None:
            self._hold(self._rates.read(question, now))

    def look(self, question: str, seen: Seen | None, now: float) -> None:
        """Follow what is chosen, and choose anew if it is time; `seen` is None where nothing is certified."""
        if self._rates is not None:
            self._hold(self._rates.look(question, seen, now))

    def _hold(self, choice: Choice | None) -> None:
        if choice is not None and choice != self._choice:
            self._choice = choice
            self._follow(choice.rate, choice.epoch)

    def state(self) -> dict[str, Any]:
        """`rate`, `why` in words, and `since` when: None for one that was there from the start."""
        if self._choice is not None:
            why = WHY.get(self._choice.why, self._choice.why)
            return {"rate": self._choice.rate, "why": why, "since": self._choice.time}
        auto = self._policy.sample_rate == AUTO
        why = (self._off or WHY["first"]) if auto else "sample_rate"
        return {"rate": self._policy.first_sample_rate, "why": why, "since": None}
