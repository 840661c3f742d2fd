"""One call to a teacher and its books: reserved before it, kept in the log and settled after it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from inference.common.errors import MonokuError
from inference.common.logs import Condition
from inference.log.decision_log import DecisionLog
from inference.log.rows import TeacherAnswer
from inference.money.ledger import Ledger, LedgerDown, SpendLimit
from inference.money.prices import dollars
from inference.teachers.teacher import Reply, Teacher, TeacherError

T = TypeVar("T")


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

    `question_id` is that of the taxonomy which the teachers were told.
    """

    def __init__(self, ledger: Ledger | None, log: DecisionLog | None, limit_s: float, question_id: str) -> None:
        self._ledger, self._log, self._limit_s, self._question_id = ledger, log, limit_s, question_id
        self._no_ledger = Condition("money", "the spend ledger can be reached again")
        self._late: set[asyncio.Task[None]] = set()

    async def call(self, teacher: Teacher, question: Question) -> Reply:
        """Ask, if it may be paid for and can be kept. Raises NotAsked, or what the teacher raised."""
        if self._log is not None and not self._log.healthy:
            raise NotAsked("the log cannot keep what a teacher would be paid for")
        reservation = await self._reserve(teacher.worst_case(question.text), question.kept)
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limit_s + 1):  # a teacher keeps its own limit; this one is a net
                reply = await teacher.ask(question.text, self._limit_s)
        except BaseException as error:
            if question.sampled and isinstance(error, TeacherError) and not (error.again or error.fatal):
                # The fault is the query's: in a sample that is a refusal. An outage says nothing of the query.
                await self._keep(teacher, question, Reply(None, str(error)), time.monotonic() - started)
            await self._settle(reservation, 0, unsure=not isinstance(error, TeacherError) or error.unsure)
            raise
        await self._keep(teacher, question, reply, time.monotonic() - started)
        await self._settle(reservation, reply.nano)
        return reply

    async def _reserve(self, nano: int, kept: float) -> str | None:
        if self._ledger is None or nano == 0:
            return None
        reserving = asyncio.ensure_future(_in_thread(partial(self._ledger.reserve, nano, kept)))
        try:
            await asyncio.wait({reserving}, timeout=self._limit_s)
            if not reserving.done():
                raise LedgerDown(f"the spend ledger took over {self._limit_s:g} s") from TimeoutError()
            reservation = reserving.result()
        except SpendLimit as error:
            raise NotAsked(str(error)) from error
        except LedgerDown as error:
            kind = type(error.__cause__ or error).__name__  # its words may repeat a URL
            self._no_ledger.begin("the spend ledger is out of reach, no paid teacher is asked: %s", kind)
            raise NotAsked(str(error)) from error
        finally:
            if not reserving.done():
                reserving.add_done_callback(self._give_back)
        self._no_ledger.end()
        return reservation

    def _give_back(self, reserving: asyncio.Future[str]) -> None:
        """A reservation that comes too late is for no call."""
        if not reserving.cancelled() and reserving.exception() is None:
            giving = asyncio.get_running_loop().create_task(self._settle(reserving.result(), 0))
            self._late.add(giving)
            giving.add_done_callback(self._late.discard)

    async def _settle(self, reservation: str | None, nano: int, unsure: bool = False) -> None:
        if self._ledger is None or reservation is None:
            return
        # What cannot be settled stays reserved, at its worst case: the cap still holds.
        ledger = self._ledger
        with contextlib.suppress(LedgerDown):
            await _in_thread(
                partial(ledger.doubt, reservation) if unsure else partial(ledger.settle, reservation, nano)
            )

    async def _keep(self, teacher: Teacher, question: Question, reply: Reply, took_s: float) -> None:
        if self._log is None:
            return
        # Not kept now, or in time, it is tried again by the log's writer; `healthy` stops the next call meanwhile.
        with contextlib.suppress(Exception):
            answer = TeacherAnswer(
                question.request_id, time.time(), question.text, teacher.name, teacher.prompt_id, reply.label,
                reply.refusal, reply.usage.to_dict(), dollars(reply.nano), took_s * 1000, question.sampled,
                self._question_id,
            )  # fmt: skip
            async with asyncio.timeout(self._limit_s):
                await asyncio.wrap_future(self._log.keep(answer))


async def _in_thread(work: Callable[[], T]) -> T:
    """Do `work` in a thread; right here where none can be started, as at the end of the process."""
    try:
        working = asyncio.get_running_loop().run_in_executor(None, work)
    except RuntimeError:
        return work()
    return await working
