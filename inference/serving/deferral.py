"""Deferred queries on their way to the teachers: one background event loop per process owns every call.

Callers wait on a future until their own deadline. The call goes on to its own limit, so an answer that was billed is
kept although its caller has left. One call serves all who ask the same at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from inference.bundle.redact import Redactor
from inference.cache.memory import normalise
from inference.common.fork import Hold, ProcessLocal, register
from inference.common.reentrant import reentrant_lock
from inference.common.shown import without_logins
from inference.common.workers import DaemonThreads, Worker
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.serving.flight import Call, Flight, Key, Outcome, Wish
from inference.serving.paid import Books, NotAsked, Question
from inference.serving.refusals import Refusals
from inference.teachers.breaker import Breaker
from inference.teachers.teacher import Reply, Teacher, TeacherError

__all__ = ["Deferral", "Outcome"]
MOST_WAITING = 1000  # calls under way or waiting for their turn; beyond, a query is answered with the guess


class Deferral(ProcessLocal):
    """Asks `teachers` in order, within a ledger, a breaker for each and a limit of calls at once.

    `on_answer(text, outcome)` is called, on the loop's thread, with every intent that a teacher gave, except for the
    sample; `answered` says what is known of a redacted text by now. `question_id` is that of the taxonomy which the
    teachers were told, `labels` are its intents. A refusal is remembered for `refusal_ttl_s` seconds.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        ledger: Ledger | None,
        log: DecisionLog | None,
        on_answer: Callable[[str, Outcome], None],
        call_limit_s: float,
        concurrency: int,
        question_id: str = "",
        labels: Collection[str] = (),
        redactor: Redactor | None = None,
        refusal_ttl_s: float = 0.0,
        answered: Callable[[str], Outcome | None] = lambda text: None,
    ) -> None:
        self.teachers, self.names = tuple(teachers), [without_logins(teacher.name) for teacher in teachers]
        self._books = Books(ledger, log, call_limit_s, question_id, labels, redactor)
        self.refusals = Refusals(refusal_ttl_s)
        self.breakers = [Breaker(name=name) for name in self.names]
        self._on_answer, self._answered = on_answer, answered
        self._call_limit_s, self._concurrency = call_limit_s, concurrency
        self.worker = Worker("monoku-teachers", self._run, finish=self._close_loop, interrupt=self._interrupt)
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hold: Hold | None = None
        self._lock = reentrant_lock()
        register(self)

    def after_fork(self) -> None:
        """A child has no loop, and what is under way is the parent's."""
        super().after_fork()
        self._closing, self._loop, self._hold = False, None, None

    def states(self) -> dict[str, str]:
        """The state of each teacher's breaker, by the teacher's name."""
        return {name: breaker.state for name, breaker in zip(self.names, self.breakers, strict=True)}

    def ask(self, question: Question, deadline_s: float | None, wish: Wish | None = None) -> Future[Outcome]:
        """Ask the teachers. With a deadline they share it, so that each gets its turn; the future may come later.

        What has not been sent when its `wish` is over, and everybody else's who asked the same, is never sent; without
        a wish it is the deadline that counts. Raises RuntimeError where no thread can be started, and while the cascade
        is being closed.
        """
        if question.sampled:
            wish = Wish()  # a hole in the sample would not be random
        wish = wish or Wish(math.inf if deadline_s is None else time.monotonic() + deadline_s)
        with self._lock:
            if self._closing:
                raise RuntimeError("the cascade is being closed")
            if self._loop is None or self._loop.is_closed():
                self._loop = self._new_loop()
            if not self.worker.start():
                raise RuntimeError(self.worker.state()["last_error"])
            return asyncio.run_coroutine_threadsafe(self._join(question, deadline_s, wish), self._loop)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(DaemonThreads(self._concurrency))  # for teachers that are functions
        self._slots = asyncio.Semaphore(self._concurrency)
        self._flights: dict[Key, Flight] = {}
        self._calls: dict[tuple[int, Key], Call] = {}  # whose reply is awaited
        self._booking: set[asyncio.Task[None]] = set()  # all that are not in the books yet
        # A child would book the end of a call that it destroys.
        self._hold = Hold((loop, self._flights, self._calls, self._booking))
        return loop

    def _run(self) -> float:
        if self._loop is not None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_forever()
        return 0.0

    def _interrupt(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _close_loop(self) -> None:
        if self._loop is not None:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        self._closing = False

    async def _join(self, question: Question, deadline_s: float | None, wish: Wish) -> Outcome:
        # Teachers change their mind: a request of the sample is judged by an answer of its own.
        key = (question.request_id, "") if question.sampled else ("", normalise(question.text))
        flight = self._flights.get(key)
        if flight is not None:
            flight.wishes.append(wish)
            outcome = await asyncio.shield(flight.task)
            return replace(outcome, nano=0)  # it was paid for once
        if len(self._flights) >= MOST_WAITING:
            self._withdraw_unwanted()
            if len(self._flights) >= MOST_WAITING:
                return Outcome(None, "", 0, "too many calls are waiting")
        flight = Flight(question, key, deadline_s, [wish])
        flight.task = asyncio.create_task(self._ask_all(flight))
        self._flights[key] = flight
        flight.task.add_done_callback(lambda _: self._land(flight))
        return await asyncio.shield(flight.task)

    def _land(self, flight: Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _withdraw_unwanted(self) -> None:
        for flight in list(self._flights.values()):
            if not flight.wanted:
                self._land(flight)
                flight.task.cancel()

    async def _ask_all(self, flight: Flight) -> Outcome:
        reasons, nano = [], 0
        for number in range(len(self.teachers)):
            call = self._calls.get((number, flight.key)) or await self._begin(flight, number)
            if isinstance(call, Outcome):
                return replace(call, nano=nano)
            if isinstance(call, str):
                reasons.append(call)
                continue
            turn_s = self._turn_s(flight, len(self.teachers) - number)
            await asyncio.wait({call.reply}, timeout=turn_s)
            if not call.reply.done():
                reasons.append(f"{self.names[number]}: no answer in its turn of {turn_s:.2f} s")
                continue
            outcome = call.reply.result()
            nano += call.claim()
            if outcome.intent is not None:
                return replace(outcome, nano=nano)
            reasons.append(str(outcome.reason))
        return Outcome(None, "", nano, "; ".join(reasons) or "no teacher")

    def _turn_s(self, flight: Flight, left: int) -> float:
        """How long this teacher may take, of those `left`, now that its call has begun."""
        if left == 1 or flight.deadline_s is None:
            return 2 * self._call_limit_s + 2  # for the ledger and the call: each ends by itself
        return max(0.0, min(flight.deadline_s, flight.left_s)) / left

    async def _begin(self, flight: Flight, number: int) -> Call | Outcome | str:
        """A call to the teacher of this number, once one may be made; or why there is none, or need not be."""
        question, name = flight.question, self.names[number]
        refused = None if question.sampled else self.refusals.of(number, question.text)
        if refused is not None:
            return f"{refused} (asked before)"
        await self._slots.acquire()
        if not flight.wanted:
            self._slots.release()
            return f"{name}: not asked, since nobody waits any more"
        known = None if question.sampled else self._answered(question.text)
        if known is not None:  # since this was asked, or put into the queue
            self._slots.release()
            return known
        place = (number, flight.key)
        call = self._calls[place] = Call(asyncio.get_running_loop().create_future())
        call.task = asyncio.create_task(self._ask(number, question, call))
        self._booking.add(call.task)
        call.reply.add_done_callback(lambda _: self._calls.pop(place))
        call.task.add_done_callback(lambda task: self._end_call(call, task))
        return call

    def _end_call(self, call: Call, task: asyncio.Task[None]) -> None:
        self._booking.discard(task)
        call.reply.cancel()  # where there is none
        self._slots.release()

    async def _ask(self, number: int, question: Question, call: Call) -> None:
        """One call, guarded. It never raises: whatever goes wrong is the outcome's reason."""
        breaker, name = self.breakers[number], self.names[number]

        def tell(reply: Reply) -> None:
            breaker.answered(reply)
            call.tell(self._outcome(number, question, reply))

        try:
            if breaker.allows():
                await self._books.call(self.teachers[number], question, tell)
            else:
                call.tell(Outcome(None, name, 0, f"{name}: rests after failing"))
        except (asyncio.CancelledError, GeneratorExit):
            if not call.reply.done():
                breaker.record(False)
            raise
        except BaseException as error:  # another's code may raise anything: an exit would end the loop for all
            if not call.reply.done():
                breaker.spare() if isinstance(error, NotAsked) else breaker.raised(error)
                of_query = isinstance(error, TeacherError) and error.of_query
                reason = self._books.safe(error)
                if of_query:
                    self._refuse(number, question, reason)
                call.tell(Outcome(None, name, 0, reason))

    def _outcome(self, number: int, question: Question, reply: Reply) -> Outcome:
        name = self.names[number]
        if reply.label is None:
            reason = f"{name}: {reply.refusal}"
            self._refuse(number, question, reason)
            return Outcome(None, name, reply.nano, reason)
        outcome = Outcome(reply.label, name, reply.nano)
        if not question.sampled:
            with contextlib.suppress(Exception):  # a redactor of the application's own, on the way to the cache
                self._on_answer(question.text, outcome)
        return outcome

    def _refuse(self, number: int, question: Question, reason: str) -> None:
        if not question.sampled:
            self.refusals.add(number, question.text, reason)

    def refused(self, text: str) -> str | None:
        """Why every teacher refused this redacted text lately; None where one may be asked."""
        reasons = []
        for number in range(len(self.teachers)):
            reason = self.refusals.of(number, text)
            if reason is None:
                return None
            reasons.append(reason)
        return "; ".join(reasons) + " (asked before)"

    def close(self, timeout_s: float) -> None:
        """Wait for calls under way, at most `timeout_s` seconds, then stop the loop."""
        with self._lock:
            if self._loop is None or self._loop.is_closed():
                return
            self._closing = True
        if not self.worker.start():
            self._close_loop()
            return
        ending = asyncio.run_coroutine_threadsafe(self._end(timeout_s), self._loop)
        with contextlib.suppress(Exception):
            ending.result(timeout_s + 1)
        self.worker.stop(1.0)

    def _under_way(self) -> list[asyncio.Task[Any]]:
        return [*(flight.task for flight in self._flights.values()), *self._booking]

    async def _end(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # A flight that has just begun has no call yet, and a call may go on after its flight.
                while under_way := self._under_way():
                    await asyncio.wait(under_way)
        while under_way := self._under_way():
            for task in under_way:
                task.cancel()
            await asyncio.wait(under_way, timeout=0.1)
            if not any(task.done() for task in under_way):
                break  # another's code that takes no cancelling
        for teacher in self.teachers:
            with contextlib.suppress(Exception):
                await teacher.close()
