"""Label queries through batches: half the price, and an answer within a day. Several are under way at once.

A batch that was created without its id coming back (a timeout, a kill) is looked up among the account's batches before
it is created again, so no query is paid for twice. A batch that the provider surely does not have any more is dropped:
what it may have cost stays counted against the cap, and its queries are asked again.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from inference.common.errors import MonokuError
from inference.money.ledger import SpendLimit
from inference.teachers.batches import DELETED, GONE, AccountBatch, batches_of
from inference.teachers.teacher import TeacherError
from training.labelling.job import Job, Receipt
from training.labelling.patience import PATIENCE, Patience
from training.labelling.queries import Query
from training.labelling.streak import Stopped
from training.labelling.underway import Batch, UnderWay

T = TypeVar("T")

LEAST_OF_A_BATCH = 16  # a sixteenth of what could be sent
CLOCK_SKEW_S = 3600.0


class _Gone(MonokuError):
    """A batch will never show what became of it. The message says why; `told` is whether the API said so itself."""

    def __init__(self, message: str, told: bool = True) -> None:
        super().__init__(message)
        self.told = told


class BatchLabeller:
    """Labels queries through batches of `size`, `at_once` of them under way at a time.

    `failed` maps a query's id to why it has no answer.
    """

    def __init__(
        self,
        job: Job,
        size: int = 10_000,
        poll_s: float = 30.0,
        rounds: int = 4,
        patience: Patience = PATIENCE,
        at_once: int = 4,
    ) -> None:
        self.api = batches_of(job.teacher)
        self.job, self.size, self.poll_s, self.rounds, self.at_once = job, size, poll_s, rounds, at_once
        self.patience = patience
        self.failed: dict[str, str] = {}
        self.under_way = UnderWay(job.home)
        self._known: dict[str, Query] = {}
        self._tick: Callable[[], object] = lambda: None
        self._creating = asyncio.Lock()  # one after the other, so that a lost one is not taken for another of ours
        others = {(batch.teacher, batch.prompt) for batch in self.under_way.all()} - {
            (job.teacher.name, job.teacher.prompt_id)
        }
        if others:
            raise ValueError(f"a batch of {others.pop()} is under way for {job.out}: finish it with that teacher first")

    @property
    def reservations(self) -> list[str]:
        """Of the batches under way."""
        return [batch.reservation for batch in self.under_way.all()]

    async def run(self, queries: Sequence[Query], tick: Callable[[], object]) -> None:
        """Label all; `tick` is called after each. Raises Stopped if the run is to end."""
        self._known, self._tick = {query.id: query for query in queries}, tick
        await _all(
            [asyncio.create_task(self._see_through(batch)) for batch in self.under_way.all()]
        )  # an earlier run's
        for _ in range(self.rounds):
            left = [query for query in queries if self.job.needs(query) and query.id not in self.failed]
            if not left:
                return
            await self._label(left)
        for query in queries:
            if self.job.needs(query):
                self.failed.setdefault(query.id, f"no answer in {self.rounds} batches")

    async def _label(self, queries: Sequence[Query]) -> None:
        """One batch after the other is planned and sent, while earlier ones are under way."""
        waiting = collections.deque(query for query in queries for _ in range(self.job.needs(query)))
        tasks: list[asyncio.Task[None]] = []
        try:
            while waiting:
                self.job.streak.check()
                running = [task for task in tasks if not task.done()]
                batch = self._plan(waiting, alone=not running) if len(running) < self.at_once else None
                if batch is None:
                    await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                else:
                    tasks.append(asyncio.create_task(self._see_through(batch)))
        except Stopped:
            if tasks:  # those under way are paid for
                await asyncio.wait(tasks)
            raise
        await _all(tasks)

    def _plan(self, waiting: collections.deque[Query], alone: bool) -> Batch | None:
        """A batch within the API's limits and the cap, written down before it is handed out.

        None where the cap has no room for it until another is through. Where it is `alone` it is made smaller.
        """
        part = list(itertools.islice(waiting, self.size))
        part = part[: self.api.fitting([query.text for query in part])]
        reserved = self._reserve(part, alone)
        if reserved is None:
            return None
        reservation, size = reserved
        nonce = uuid.uuid4().hex[:16]
        ids = {f"{nonce}-{number}": waiting.popleft().id for number in range(size)}
        teacher = self.job.teacher
        return self.under_way.put(Batch(nonce, time.time(), reservation, teacher.name, teacher.prompt_id, ids))

    def _reserve(self, queries: Sequence[Query], alone: bool) -> tuple[str, int] | None:
        """Room for as many of the queries as the cap allows; it stops rather than end in a row of tiny batches."""
        size = len(queries)
        least = max(1, len(queries) // LEAST_OF_A_BATCH)
        while True:
            worst = sum(self.api.worst_case(query.text) for query in queries[:size])
            try:
                return self.job.ledger.reserve(worst), size
            except SpendLimit as error:
                if not alone:
                    return None
                if size <= least:
                    self.job.streak.end(str(error))
                    self.job.streak.check()
                size = (size + 1) // 2

    async def _see_through(self, batch: Batch) -> None:
        try:
            try:
                async with self._creating:
                    batch = await self._create(batch)
                if batch.id is None:
                    self._drop(batch, [])
                else:
                    await self._through(batch)
            except _Gone as error:
                await self._lose(batch, error)
        except Stopped as stop:
            self.job.streak.end(str(stop))  # no further batch is sent
            raise

    async def _through(self, batch: Batch) -> None:
        await self._ended(str(batch.id))
        receipts, errors = await self._results(batch)
        self._drop(batch, receipts)
        for query_id in dict.fromkeys(batch.custom_ids.values()):
            query = self._known.get(query_id)
            if query is not None and query_id not in self.job.written and self.job.write(query):
                self._tick()
        self._judge(receipts, errors)

    def _judge(self, receipts: Sequence[tuple[str, Receipt]], errors: dict[str, TeacherError]) -> None:
        """Tell the guard how a batch went. Its rows have no order, so one usable answer speaks for all of them."""
        streak = self.job.streak
        refusals = {receipt.query: receipt.refusal for _, receipt in receipts}
        usable = any(receipt.label is not None for _, receipt in receipts)
        if usable:
            streak.usable()
        for query_id, error in errors.items():
            if error.fatal or not usable:
                streak.failed(error)
            if not (error.fatal or error.again):
                self.failed[query_id] = str(error)
        for query_id, refusal in refusals.items():
            if not usable and query_id not in errors:
                streak.unusable(str(refusal))

    async def _create(self, batch: Batch) -> Batch:
        """The batch with its id. Where none came back it may exist all the same: look before asking again.

        It has none if it never came to be, and its queries are no longer among those to label, or the run is to end.
        """
        if batch.id is not None:
            return batch
        for tried in range(self.patience.tries):
            found = await self._find(batch) if batch.sent else None
            if found is None and not self._known.keys() >= set(batch.custom_ids.values()):
                return batch
            if found is None:
                if not batch.sent and self.job.streak.reason:
                    return batch
                batch = self.under_way.put(replace(batch, sent=True))
                texts = {name: self._known[query_id].text for name, query_id in batch.custom_ids.items()}
                try:
                    found = await self.api.create(batch.nonce, texts)
                except TeacherError as error:
                    if not error.again:
                        self._drop(batch, [])  # refused, so it never came to be
                        hint = "; --mode sync needs no batches" if error.kind == "address" else ""
                        raise Stopped(f"{error}{hint}") from error
                    await asyncio.sleep(self.patience.wait(tried, error))
                    continue
            return self.under_way.put(replace(batch, id=found))
        raise Stopped(f"no batch could be created in {self.patience.tries} tries")

    async def _find(self, batch: Batch) -> str | None:
        """The id of the batch that holds our custom ids, among the account's batches since ours was planned."""
        try:
            others = await self.patience.retry(lambda: self.api.since(batch.made - CLOCK_SKEW_S))
        except TeacherError as error:
            if error.kind != "address":
                raise Stopped(str(error)) from error
            raise _Gone(f"no id came back, and the server does not list batches: {error}") from error
        ours = {one.id for one in self.under_way.all()}
        for other in others:
            if other.id not in ours and await self._is(other, batch):
                return other.id
        return None

    async def _is(self, other: AccountBatch, batch: Batch) -> bool:
        if other.nonce is not None or other.requests != len(batch.custom_ids):
            return other.nonce == batch.nonce
        try:
            await self._ended(other.id)  # only then does it show whose it is
            return await self._retry(lambda: self.api.first_custom_id(other.id)) in batch.custom_ids
        except _Gone:  # it was somebody else's, for ours nobody can have deleted
            return False

    async def _ended(self, found: str) -> None:
        while not await self._retry(lambda: self.api.ended(found)):
            await asyncio.sleep(self.poll_s)

    async def _results(self, batch: Batch) -> tuple[list[tuple[str, Receipt]], dict[str, TeacherError]]:
        """(custom id, Receipt) of every answer, and why other rows have none, by query id."""
        receipts, errors = list[tuple[str, Receipt]](), dict[str, TeacherError]()
        for custom_id, result in await self._retry(lambda: self.api.results(str(batch.id), list(batch.custom_ids))):
            query_id = batch.custom_ids.get(custom_id)
            if query_id is None:
                continue
            if isinstance(result, TeacherError):
                errors[query_id] = result
            else:
                receipts.append((custom_id, Receipt.of(query_id, result)))
        return receipts, errors

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """Try a call that changes nothing again, as long as that may help. Raises Stopped if it still fails."""
        try:
            return await self.patience.retry(call)
        except TeacherError as error:
            if error.kind in (GONE, DELETED):
                raise _Gone(str(error), told=error.kind == DELETED) from error
            raise Stopped(str(error)) from error

    async def _lose(self, batch: Batch, why: _Gone) -> None:
        """Drop a batch that is gone. A server that lists it, or lists none, may only lack a way to look at it."""
        if not why.told and batch.id in {
            one.id for one in await self._retry(lambda: self.api.since(batch.made - CLOCK_SKEW_S))
        }:
            raise Stopped(f"{why}, and lists it all the same")
        self.job.ledger.doubt(batch.reservation)
        self.under_way.drop(batch)
        count = len(set(batch.custom_ids.values()))
        print(f"a batch is lost ({why}): its {count} queries are asked again; it may be charged", file=sys.stderr)

    def _drop(self, batch: Batch, receipts: Sequence[tuple[str, Receipt]]) -> None:
        self.job.settle(batch.reservation, receipts)
        self.under_way.drop(batch)


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all, whatever becomes of one: they may be charged. Raises what the first failed one raised."""
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
