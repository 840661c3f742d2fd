"""A request and the teachers: whether they are asked about it, how long its caller waits, and what comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from inference.bundle.redact import Redactor
from inference.cache.memory import Entry
from inference.common.reentrant import interrupted
from inference.serving.answer import Request
from inference.serving.deferral import Deferral
from inference.serving.flight import Outcome, Wish
from inference.serving.known import Known
from inference.serving.policy import Policy
from inference.serving.rate import Rate
from inference.serving.tier import Guess


class Asking:
    """Asks the teachers of `deferral` as the policy says; what goes wrong is told to `note`.

    `never` is why none is ever asked, "" where they may be.
    """

    def __init__(
        self, policy: Policy, deferral: Deferral, known: Known, redact: Redactor, note: Callable[[str], None]
    ) -> None:
        self._policy, self._deferral, self._known, self._redact, self._note = policy, deferral, known, redact, note
        self.rate = Rate(policy.max_teacher_rate)
        never = "the policy never defers" if policy.deferral == "never" else ""
        self.never = never or ("" if deferral.teachers else "there is no teacher")

    def why_not(self, request: Request) -> str | None:
        """Why a query that is not accepted stays here all the same; None if a teacher may be asked."""
        if self.never:
            return self.never
        if request.draw.sampled:  # it is asked about anyway, outside the rate
            return None
        refused = self._deferral.refused(request.redacted or "")
        if refused is None and not self.rate.allows():
            return "max_teacher_rate is reached"
        return refused

    def begin(self, request: Request, wish: Wish | None = None) -> None:
        """Ask the teachers, unless that fails: the reason says so then. Many requests may share one `wish`.

        A signal handler that came in the middle of another call is not made to wait: what it would wait for may need
        what that call holds.
        """
        waits = self._policy.deferral == "wait" and not interrupted()
        deadline_s = self._policy.deadline_s if waits else None
        if deadline_s is not None:
            request.wish = wish or Wish(time.monotonic() + deadline_s - request.age_s)
        try:
            request.asked = self._ask(request, deadline_s)
        except Exception as error:  # no thread to be had, or the cascade is being closed
            request.reason = f"no teacher could be asked: {error}"

    def _ask(self, request: Request, deadline_s: float | None) -> Future[Outcome]:
        if request.redacted is None:
            request.redacted = self._redact(request.text)
        return self._deferral.ask(request.question(self._policy.sample_share), deadline_s, request.wish)

    def wait(self, request: Request) -> Outcome | None:
        """What the teachers said, if they were asked and may be waited for; None where it is late."""
        if request.asked is None or request.wish is None:
            return None
        try:
            return request.asked.result(max(0.0, request.wish.until - time.monotonic()))
        except Exception:  # late, or cancelled, since the cascade is being closed
            return None
        except BaseException:
            request.wish.until = 0.0  # interrupted: nobody waits any more
            raise

    def let_land(self, request: Request, left_s: float) -> float:
        """Wait until the teachers are done with a request, `left_s` seconds at most; how many of these are left."""
        if request.asked is None or request.wish is None:
            return left_s
        started = time.monotonic()
        wait((request.asked,), left_s)
        return max(0.0, left_s - (time.monotonic() - started))

    async def wait_async(self, request: Request) -> Outcome | None:
        """The same for asyncio."""
        if request.asked is None or request.wish is None:
            return None
        try:
            asked = asyncio.wrap_future(request.asked)
            done, _ = await asyncio.wait({asked}, timeout=request.wish.until - time.monotonic())
        finally:
            request.wish.until = 0.0  # its caller may have been cancelled
        answered = bool(done) and not asked.cancelled() and asked.exception() is None
        return asked.result() if answered else None

    def judge(self, request: Request, outcome: Outcome | None) -> tuple[Guess | Entry, str | None]:
        """The answer to a query about which teachers were asked, or why it is not theirs."""
        if outcome is None:
            late = f"no answer within {self._policy.deadline_s:g} s"
            return request.guess, late if request.wish else "a teacher is asked in the background"
        if outcome.intent is None:
            return request.guess, outcome.reason
        # It is kept already under the redacted text; the sample's answers are for the log alone.
        if not request.draw.sampled:
            self._known.link(request)
        return Guess(outcome.intent, None, True, outcome.source), None

    def sample(self, request: Request) -> None:
        """Have a request of the sample labelled behind its caller's back, where that is still to be done."""
        if self.never or request.asked is not None:
            return
        request.wish = None
        try:
            self._ask(request, None)
        except Exception as error:  # a redactor of the application's own
            self._note(f"sample failed: {type(error).__name__}")
