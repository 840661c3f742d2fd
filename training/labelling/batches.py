"""Label queries through Message Batches: half the price, and an answer within a day.

What is on disk before anything is sent: each batch's custom ids and the queries they stand for. A batch that was
created without its id coming back (a timeout, a kill) is looked up among the account's batches before any other is
created, so no query is paid for twice.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from inference.common.files import write_atomically
from inference.money.ledger import SpendLimit
from inference.teachers.claude import MOST_REQUESTS, AnthropicTeacher, Batches
from inference.teachers.teacher import TeacherError
from training.labelling.job import Job, Receipt
from training.labelling.patience import PATIENCE, Patience
from training.labelling.queries import Query
from training.labelling.streak import Stopped

T = TypeVar("T")

LEAST_OF_A_BATCH = 16  # a sixteenth of what could be sent
CLOCK_SKEW_S = 3600.0


@dataclass(frozen=True)
class Batch:
    """A batch on its way. `id` is None until the API has given it one, `sent` whether it was ever asked for one."""

    nonce: str
    made: float
    reservation: str
    teacher: str
    prompt: str
    custom_ids: dict[str, str]  # → query id
    sent: bool = False
    id: str | None = None


def under_way(home: Path) -> list[Batch]:
    """The batches that an earlier run of a job left."""
    path = home / "batches.json"
    return [Batch(**values) for values in json.loads(path.read_text())] if path.is_file() else []


class BatchLabeller:
    """Labels queries through batches. `failed` maps a query's id to why it has no answer."""

    def __init__(
        self,
        job: Job,
        size: int = MOST_REQUESTS,
        poll_s: float = 30.0,
        rounds: int = 4,
        patience: Patience = PATIENCE,
    ) -> None:
        if not isinstance(job.teacher, AnthropicTeacher):
            raise ValueError(f"batches need a teacher anthropic:MODEL, {job.teacher.name} has none; use --mode sync")
        self.teacher: AnthropicTeacher = job.teacher
        self.api = Batches(job.teacher)
        self.job, self.size, self.poll_s, self.rounds = job, size, poll_s, rounds
        self.patience = patience
        self.failed: dict[str, str] = {}
        self._path = job.home / "batches.json"
        self.batches = under_way(job.home)
        others = {(batch.teacher, batch.prompt) for batch in self.batches} - {(job.teacher.name, job.teacher.prompt_id)}
        if others:
            raise ValueError(f"a batch of {others.pop()} is under way for {job.out}: finish it with that teacher first")

    @property
    def reservations(self) -> list[str]:
        """Of the batches under way."""
        return [batch.reservation for batch in self.batches]

    async def run(self, queries: Sequence[Query], tick: Callable[[], object]) -> None:
        """Label all; `tick` is called after each. Raises Stopped if the run is to end."""
        known = {query.id: query for query in queries}
        for batch in list(self.batches):  # what an earlier run left
            await self._see_through(batch, known, tick)
        for _ in range(self.rounds):
            left = [query for query in queries if self.job.needs(query) and query.id not in self.failed]
            if not left:
                return
            for batch in self._plan(left):
                await self._see_through(batch, known, tick)
        for query in queries:
            if self.job.needs(query):
                self.failed.setdefault(query.id, f"no answer in {self.rounds} batches")

    def _plan(self, queries: Sequence[Query]) -> Iterator[Batch]:
        """Batches within the API's limits and the cap, each written down before it is handed out."""
        wanted = [query for query in queries for _ in range(self.job.needs(query))]
        start = 0
        while start < len(wanted):
            self.job.streak.check()
            size = min(self.size, self.api.fitting([query.text for query in wanted[start : start + self.size]]))
            reservation, size = self._reserve(wanted[start : start + size])
            nonce = uuid.uuid4().hex[:16]
            part = wanted[start : start + size]
            ids = {f"{nonce}-{number}": query.id for number, query in enumerate(part)}
            batch = Batch(nonce, time.time(), reservation, self.teacher.name, self.teacher.prompt_id, ids)
            self._update(batch)
            start += size
            yield batch

    def _reserve(self, queries: Sequence[Query]) -> tuple[str, int]:
        """Room for as many of the queries as the cap allows; it stops rather than end in a row of tiny batches."""
        size = len(queries)
        least = max(1, len(queries) // LEAST_OF_A_BATCH)
        while True:
            worst = sum(self.teacher.worst_case(query.text, batch=True) for query in queries[:size])
            try:
                return self.job.ledger.reserve(worst), size
            except SpendLimit as error:
                if size <= least:
                    self.job.streak.end(str(error))
                    self.job.streak.check()
                size = (size + 1) // 2

    async def _see_through(self, batch: Batch, known: dict[str, Query], tick: Callable[[], object]) -> None:
        if batch.id is None:
            made = await self._create(batch, {query_id: query.text for query_id, query in known.items()})
            if made is None:
                self._drop(batch, [])
                return
            batch = made
        await self._ended(str(batch.id))
        receipts, errors = await self._results(batch)
        self._drop(batch, receipts)
        for query_id in dict.fromkeys(batch.custom_ids.values()):
            if query_id in known and query_id not in self.job.written and self.job.write(known[query_id]):
                tick()
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

    async def _create(self, batch: Batch, texts: dict[str, str]) -> Batch | None:
        """Create the batch once. Where no id came back it may exist all the same: look before asking again.

        None for a batch that never came to be and whose queries are no longer among those to label.
        """
        for tried in range(self.patience.tries):
            found = await self._find(batch) if batch.sent else None
            if found is None and not texts.keys() >= set(batch.custom_ids.values()):
                return None
            if found is None:
                batch = self._update(replace(batch, sent=True))
                try:
                    found = await self.api.create(
                        {name: texts[query_id] for name, query_id in batch.custom_ids.items()}
                    )
                except TeacherError as error:
                    if not error.again:
                        self._drop(batch, [])  # refused, so it never came to be
                        raise Stopped(str(error)) from error
                    await asyncio.sleep(self.patience.wait(tried, error))
                    continue
            return self._update(replace(batch, id=found))
        raise Stopped(f"no batch could be created in {self.patience.tries} tries")

    async def _find(self, batch: Batch) -> str | None:
        """The id of the batch that holds our custom ids, among the account's batches since ours was planned."""
        for other in await self._retry(lambda: self.api.since(batch.made - CLOCK_SKEW_S)):
            if other.requests != len(batch.custom_ids):
                continue
            await self._ended(other.id)  # only then does it show whose it is
            if await self._retry(lambda: self.api.first_custom_id(other.id)) in batch.custom_ids:  # noqa: B023
                return other.id
        return None

    async def _ended(self, found: str) -> None:
        while not await self._retry(lambda: self.api.ended(found)):
            await asyncio.sleep(self.poll_s)

    async def _results(self, batch: Batch) -> tuple[list[tuple[str, Receipt]], dict[str, TeacherError]]:
        """(custom id, Receipt) of every answer, and why other rows have none, by query id."""
        receipts, errors = list[tuple[str, Receipt]](), dict[str, TeacherError]()
        for custom_id, result in await self._retry(lambda: self.api.results(str(batch.id))):
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
            raise Stopped(str(error)) from error

    def _update(self, batch: Batch) -> Batch:
        self.batches = [*(other for other in self.batches if other.nonce != batch.nonce), batch]
        self._save()
        return batch

    def _drop(self, batch: Batch, receipts: Sequence[tuple[str, Receipt]]) -> None:
        self.job.settle(batch.reservation, receipts)
        self.batches = [other for other in self.batches if other.nonce != batch.nonce]
        self._save()

    def _save(self) -> None:
        write_atomically(self._path, json.dumps([asdict(batch) for batch in self.batches]).encode())
