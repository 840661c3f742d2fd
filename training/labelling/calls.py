"""Label queries one call at a time, several at once: reserve, ask, settle; try again where that may help."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Sequence
from functools import partial

from inference.money.ledger import SpendLimit
from inference.teachers.teacher import TeacherError
from training.labelling.job import Job
from training.labelling.patience import PATIENCE, Patience
from training.labelling.queries import Query

CALL_LIMIT_S = 60.0
FIRST = 3  # queries that fail one after another before the run is given up


class SyncLabeller:
    """Labels queries through `teacher.ask`. `failed` maps a query's id to why it has no answer."""

    def __init__(self, job: Job, workers: int, timeout_s: float = CALL_LIMIT_S, patience: Patience = PATIENCE) -> None:
        self.job, self.workers, self.timeout_s = job, workers, timeout_s
        self.patience = patience
        self.failed: dict[str, str] = {}
        self._open = 0
        self._settled = asyncio.Event()

    async def run(self, queries: Sequence[Query], tick: Callable[[], object]) -> None:
        """Label all; `tick` is called after each. Raises Stopped if the run is to end."""
        waiting = collections.deque(queries)
        # One answer first: it writes the provider's cache that the others read, and shows what would fail them all.
        for tried in range(min(FIRST, len(waiting))):
            await self._work(collections.deque([waiting.popleft()]), tick)
            if len(self.failed) <= tried:
                break
        else:
            self.job.streak.end(next(iter(self.failed.values())))
            self.job.streak.check()
        tasks = [asyncio.create_task(self._work(waiting, tick)) for _ in range(self.workers)]
        # Calls under way end by themselves, whatever became of the others: they may be charged already.
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _work(self, waiting: collections.deque[Query], tick: Callable[[], object]) -> None:
        while waiting:
            query = waiting.popleft()
            try:
                await self._label(query)
            except TeacherError as error:
                self.job.streak.failed(error)
                if error.fatal:
                    self.job.streak.check()
                self.failed[query.id] = str(error)
            tick()

    async def _label(self, query: Query) -> None:
        while self.job.needs(query):
            await self.patience.retry(partial(self._ask, query))
        if refusal := self.job.refusal(query):
            self.job.streak.unusable(refusal)

    async def _ask(self, query: Query) -> None:
        reservation = await self._reserve(query)
        doubtful = True  # until something says otherwise: a cancelled call may be charged as well
        try:
            reply = await self.job.teacher.ask(query.text, self.timeout_s)
            self.job.keep(reservation, query, reply)
            doubtful = False
            if reply.label is not None:
                self.job.streak.usable()
        except TeacherError as error:
            doubtful = error.unsure
            if not doubtful:
                self.job.settle(reservation, [])
            raise
        finally:
            if doubtful:
                self.job.ledger.doubt(reservation)
            self._open -= 1
            self._settled.set()

    async def _reserve(self, query: Query) -> str:
        """Room for the worst case. While other calls are open, what they leave of theirs may make it."""
        while True:
            self.job.streak.check()
            try:
                reservation = self.job.ledger.reserve(self.job.teacher.worst_case(query.text))
            except SpendLimit as error:
                if not self._open:
                    self.job.streak.end(str(error))
                    continue
                self._settled.clear()
                await self._settled.wait()
            else:
                self._open += 1
                return reservation
