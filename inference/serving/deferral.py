"""Deferred queries on their way to the teachers: one background event loop per process owns every call.

Callers wait on a future until their own deadline. The call goes on to its own limit, so an answer that was billed is
kept although its caller has left. One call serves all who ask the same at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from inference.common.fork import Hold, ProcessLocal, register
from inference.common.workers import DaemonThreads, Worker
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.serving.paid import Books, NotAsked, Question
from inference.teachers.breaker import Breaker
from inference.teachers.teacher import Teacher

MOST_WAITING = 1000  # calls under way or waiting for their turn; beyond, a query is answered with the guess

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the teachers made of a query: an intent with who gave it, or the reasons why there is none."""

    intent: str | None
    teacher: str
    nano: int
    reason: str | None = None


class Deferral(ProcessLocal):
    """Asks `teachers` in order, within a ledger, a breaker for each and a limit of calls at once.

    `on_answer(text, outcome)` is called, on the loop's thread, with every intent that a teacher gave, except for the
    sample. `question_id` is that of the taxonomy which the teachers were told.
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
    ) -> None:
        self.teachers, self._books = tuple(teachers), Books(ledger, log, call_limit_s, question_id)
        self.breakers = [Breaker(name=teacher.name) for teacher in teachers]
        self._on_answer = on_answer
        self._call_limit_s, self._concurrency = call_limit_s, concurrency
        self.worker = Worker("monoku-teachers", self._run, finish=self._close_loop, interrupt=self._interrupt)
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        register(self)

    def after_fork(self) -> None:
        """A child has no loop, and what is under way is the parent's."""
        super().after_fork()
        self._closing, self._loop, self._hold = False, None, None

    def states(self) -> dict[str, str]:
        """The state of each teacher's breaker, by the teacher's name."""
        return {teacher.name: breaker.state for teacher, breaker in zip(self.teachers, self.breakers, strict=True)}

    def ask(self, question: Question, deadline_s: float | None) -> Future[Outcome]:
        """Ask the teachers. With a deadline they share it, so that each gets its turn; the future may come later.

        Raises RuntimeError where no thread can be started, and while the cascade is being closed.
        """
        with self._lock:
            if self._closing:
                raise RuntimeError("the cascade is being closed")
            if self._loop is None or self._loop.is_closed():
                self._loop = self._new_loop()
            if not self.worker.start():
                raise RuntimeError(self.worker.state()["last_error"])
            return asyncio.run_coroutine_threadsafe(self._join(question, deadline_s), self._loop)

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(DaemonThreads())  # for the ledger, and for teachers that are functions
        self._slots = asyncio.Semaphore(self._concurrency)
        self._flights: dict[Key, asyncio.Task[Outcome]] = {}
        self._calls: dict[tuple[int, Key], asyncio.Task[Outcome]] = {}
        self._hold = Hold((loop, self._flights, self._calls))  # a child would book the end of a call that it destroys
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

    async def _join(self, question: Question, deadline_s: float | None) -> Outcome:
        # Teachers change their mind: a request of the sample is judged by an answer of its own.
        key = (question.request_id, "") if question.sampled else ("", question.text)
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._ask_all(question, key, deadline_s))
            self._flights[key] = flight
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
            return await asyncio.shield(flight)
        outcome = await asyncio.shield(flight)
        return Outcome(outcome.intent, outcome.teacher, 0, outcome.reason)  # it was paid for once

    def _call_for(self, number: int, teacher: Teacher, question: Question, key: Key) -> asyncio.Task[Outcome] | None:
        """The call that is under way for this question, whoever began it, or a new one; None if too many wait."""
        call = self._calls.get((number, key))
        if call is None and len(self._calls) < MOST_WAITING:
            call = asyncio.create_task(self._ask(number, teacher, question))
            self._calls[number, key] = call
            call.add_done_callback(lambda _: self._calls.pop((number, key), None))
        return call

    async def _ask_all(self, question: Question, key: Key, deadline_s: float | None) -> Outcome:
        until = time.monotonic() + (self._call_limit_s if deadline_s is None else deadline_s)
        reasons = []
        for number, teacher in enumerate(self.teachers):
            left = len(self.teachers) - number
            turn_s = self._call_limit_s if left == 1 else max(0.0, until - time.monotonic()) / left
            call = self._call_for(number, teacher, question, key)
            if call is None:
                reasons.append(f"{teacher.name}: too many calls are waiting")
                continue
            done, _ = await asyncio.wait({call}, timeout=turn_s)
            if not done:
                reasons.append(f"{teacher.name}: no answer in its turn of {turn_s:.2f} s")
                continue
            outcome = call.result()
            if outcome.intent is not None:
                return outcome
            reasons.append(str(outcome.reason))
        return Outcome(None, "", 0, "; ".join(reasons) or "no teacher")

    async def _ask(self, number: int, teacher: Teacher, question: Question) -> Outcome:
        """One call, guarded. It never raises: whatever goes wrong is the outcome's reason."""
        breaker = self.breakers[number]
        try:
            async with self._slot():
                if not breaker.allows():
                    return Outcome(None, teacher.name, 0, f"{teacher.name}: rests after failing")
                try:
                    reply = await self._books.call(teacher, question)
                except NotAsked:
                    breaker.spare()
                    raise
                except BaseException as error:
                    breaker.raised(error)
                    raise
                breaker.answered(reply)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # another's code may raise anything: an exit would end the loop for all
            return Outcome(None, teacher.name, 0, str(error) or type(error).__name__)
        if reply.label is None:
            return Outcome(None, teacher.name, reply.nano, f"{teacher.name}: {reply.refusal}")
        outcome = Outcome(reply.label, teacher.name, reply.nano)
        if not question.sampled:
            with contextlib.suppress(Exception):  # a redactor of the application's own, on the way to the cache
                self._on_answer(question.text, outcome)
        return outcome

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._call_limit_s):
                await self._slots.acquire()
        except TimeoutError:
            raise NotAsked(f"no call was free within {self._call_limit_s:g} s") from None
        try:
            yield
        finally:
            self._slots.release()

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

    async def _end(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                # A flight that has just begun has no call yet, and a call may go on after its flight.
                while under_way := [*self._flights.values(), *self._calls.values()]:
                    await asyncio.wait(under_way)
        for call in list(self._calls.values()):
            call.cancel()
        for teacher in self.teachers:
            with contextlib.suppress(Exception):
                await teacher.close()
