"""One call to a teacher and its books: reserved before it, kept in the log and settled after it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from inference.bundle.redact import Redactor, redact
from inference.common.errors import MonokuError
from inference.common.logs import Condition
from inference.common.shown import without_logins
from inference.common.workers import DaemonThreads
from inference.log.decision_log import DecisionLog
from inference.log.rows import TeacherAnswer
from inference.money.ledger import Ledger, LedgerDown, SpendLimit
from inference.money.prices import dollars
from inference.teachers.teacher import NO_USAGE, Reply, Teacher, TeacherError

T = TypeVar("T")
MOST_NANO = 10**15  # of one call, a million dollars: a ledger that is to book a number without end books nothing more


@dataclass(frozen=True, slots=True)
class Question:
    """A redacted query on its way, for the decision `request_id`.

    `sampled`: its answer judges this request and does nothing else. Another leaves the share `kept` of the day's cap
    to those.
    """

    request_id: str
    text: str
    sampled: bool
    kept: float = 0.0


class NotAsked(MonokuError):
    """The teacher is not asked, for no fault of its own."""


class Books:
    """The ledger and the log of calls that take `limit_s` seconds at most; either may be None.

    `question_id` is that of the taxonomy which the teachers were told, `labels` are its intents; `redactor` is the
    application's, for what teachers say of a failure.
    """

    def __init__(
        self,
        ledger: Ledger | None,
        log: DecisionLog | None,
        limit_s: float,
        question_id: str,
        labels: Collection[str] = (),
        redactor: Redactor | None = None,
    ) -> None:
        self._ledger, self._log, self._limit_s, self._question_id = ledger, log, limit_s, question_id
        self._labels, self._redactor = frozenset(labels), redactor
        self._threads = DaemonThreads()
        self._no_ledger = Condition("money", "the spend ledger can be reached again")

    async def call(
        self, teacher: Teacher, question: Question, tell: Callable[[Reply], None] = lambda reply: None
    ) -> Reply:
        """Ask, if it may be paid for and can be kept; `tell` hears the reply before it is. Raises NotAsked, or what the
        teacher raised."""
        if self._log is not None and not self._log.healthy:
            raise NotAsked("the log cannot keep what a teacher would be paid for")
        worst = teacher.worst_case(question.text)
        reservation = await self._reserve(worst, question.kept)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limit_s + 1):  # a teacher keeps its own limit; this one is a net
                reply = self._checked(await teacher.ask(question.text, self._limit_s), worst)
        except BaseException as error:
            if question.sampled and isinstance(error, TeacherError) and error.of_query:
                # In a sample that is a refusal. An outage says nothing of the query.
                await self._keep(teacher, question, Reply(None, self.safe(error)), time.monotonic() - started)
            await self._settle(reservation, 0, unsure=not isinstance(error, TeacherError) or error.unsure)
            raise
        taken_s = time.monotonic() - started
        tell(reply)
        await self._keep(teacher, question, reply, taken_s)
        await self._settle(reservation, reply.nano)
        return reply

    def _checked(self, reply: Reply, worst: int) -> Reply:
        """A reply as it counts, from a teacher that anybody may have written."""
        if not isinstance(reply, Reply) or type(reply.nano) is not int or not 0 <= reply.nano <= MOST_NANO:
            raise TeacherError(
                "unreadable", f"the teacher must return a Reply, got {type(reply).__name__}", unsure=True
            )
        if worst and not reply.nano and reply.usage == NO_USAGE:
            reply = replace(reply, nano=worst)  # it does not say what it was paid
        if reply.label is not None and self._labels and reply.label not in self._labels:
            return replace(reply, label=None, refusal=self.safe(f"not an intent of the taxonomy: {reply.label!r:.80}"))
        return reply if reply.refusal is None else replace(reply, refusal=self.safe(reply.refusal))

    def safe(self, said: object) -> str:
        """What another's code said, without what is private; its type where it has no words for it."""
        try:
            text = redact(without_logins(str(said)))
            return (self._redactor(text) if self._redactor else text) or type(said).__name__
        except Exception:  # str() of another's exception, or a redactor of the application's own
            return type(said).__name__

    async def _reserve(self, nano: int, kept: float) -> str | None:
        if self._ledger is None or nano == 0:
            return None
        reserving = self._in_thread(partial(self._ledger.reserve, nano, kept))
        try:
            async with asyncio.timeout(self._limit_s):
                reservation = await asyncio.shield(asyncio.wrap_future(reserving))
        except SpendLimit as error:
            raise NotAsked(str(error)) from error
        except (LedgerDown, TimeoutError) as error:
            reserving.add_done_callback(self._release)  # it may come yet, for a call that is not made
            kind = type(error.__cause__ or error).__name__  # its words may repeat a URL
            self._no_ledger.begin("the spend ledger is out of reach, no paid teacher is asked: %s", kind)
            raise NotAsked(str(error) or f"the spend ledger takes over {self._limit_s:g} s") from error
        except asyncio.CancelledError:
            reserving.add_done_callback(self._release)
            raise
        self._no_ledger.end()
        return reservation

    def _release(self, reserving: Future[str]) -> None:
        if self._ledger is not None and not reserving.cancelled() and reserving.exception() is None:
            with contextlib.suppress(LedgerDown):
                self._ledger.settle(reserving.result(), 0)

    async def _settle(self, reservation: str | None, nano: int, unsure: bool = False) -> None:
        if self._ledger is None or reservation is None:
            return
        # What cannot be settled stays reserved, at its worst case: the cap still holds.
        ledger = self._ledger
        settle = partial(ledger.doubt, reservation) if unsure else partial(ledger.settle, reservation, nano)
        with contextlib.suppress(LedgerDown):
            await asyncio.shield(asyncio.wrap_future(self._in_thread(settle)))

    async def _keep(self, teacher: Teacher, question: Question, reply: Reply, took_s: float) -> None:
        if self._log is None:
            return
        # Not kept now, or in time, it is tried again by the log's writer; `healthy` stops the next call meanwhile.
        with contextlib.suppress(Exception):
            answer = TeacherAnswer(
                question.request_id, time.time(), question.text, without_logins(teacher.name), teacher.prompt_id,
                reply.label, reply.refusal, reply.usage.to_dict(), dollars(reply.nano), took_s * 1000, question.sampled,
                self._question_id,
            )  # fmt: skip
            async with asyncio.timeout(self._limit_s):
                await asyncio.wrap_future(self._log.keep(answer))

    def _in_thread(self, work: Callable[[], T]) -> Future[T]:
        """Do `work` in a thread; right here where none can be started, as at the end of the process."""
        try:
            return self._threads.submit(work)
        except RuntimeError:
            done: Future[T] = Future()
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)
            return done


def warn_of_unpriced(teachers: Iterable[Teacher], daily_usd: float | None) -> None:
    """Say that a cap does not see what some teachers cost, where there is a cap."""
    unknown = [without_logins(teacher.name) for teacher in teachers if not getattr(teacher, "priced", True)]
    if unknown and daily_usd is not None:
        logging.getLogger("monoku.money").warning(
            "daily_usd limits nothing that is not priced: %s counts as free. If it is not, give its price, as in "
            "FunctionTeacher(function, taxonomy, usd=0.001)", ", ".join(unknown),
        )  # fmt: skip
