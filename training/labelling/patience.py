"""When a failed call is tried again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from inference.teachers.teacher import TeacherError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How often a failed call is tried again, and how long is waited in between, in seconds."""

    tries: int = 6
    first_s: float = 0.5
    longest_s: float = 60.0

    async def retry(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, tried again as long as that may help. Raises the last TeacherError."""
        for tried in range(self.tries - 1):
            try:
                return await call()
            except TeacherError as error:
                if not error.again:
                    raise
                await asyncio.sleep(self.wait(tried, error))
        return await call()

    def wait(self, tried: int, error: TeacherError) -> float:
        """What the server asked for, else twice as long each time; never more than `longest_s`."""
        own = self.first_s * 2**tried * random.uniform(0.75, 1)
        return min(error.retry_after_s if error.retry_after_s is not None else own, self.longest_s)


PATIENCE = Patience()
