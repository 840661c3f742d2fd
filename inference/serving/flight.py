"""What is under way for a query: what its callers want, the teachers in turn, and one call to each of them."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

from inference.serving.paid import Question

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the teachers made of a query: an intent with who gave it, or the reasons why there is none.

    `nano` is what was charged on the way, refusals included; `source` is another where somebody else has spoken since.
    """

    intent: str | None
    teacher: str
    nano: int
    reason: str | None = None
    source: str = "teacher"


@dataclass(slots=True)
class Wish:
    """Until when a caller wants an answer, by time.monotonic. Whoever leaves earlier, or later, says so here."""

    until: float = math.inf


@dataclass(slots=True)
class Flight:
    """The teachers are asked for one query, for all who ask it at the same time."""

    question: Question
    key: Key
    deadline_s: float | None
    wishes: list[Wish]
    task: asyncio.Task[Outcome] = field(init=False)

    @property
    def left_s(self) -> float:
        """Seconds for which somebody wants it."""
        return max(wish.until for wish in self.wishes) - time.monotonic()

    @property
    def wanted(self) -> bool:
        """Whether anybody still wants it."""
        return self.left_s > 0


@dataclass(slots=True)
class Call:
    """One call to a teacher. Its reply is there before it is in the books, for nobody waits for those."""

    reply: asyncio.Future[Outcome]
    claimed: bool = False
    task: asyncio.Task[None] = field(init=False)

    def tell(self, outcome: Outcome) -> None:
        """Hand the outcome to whoever waits."""
        if not self.reply.done():
            self.reply.set_result(outcome)

    def claim(self) -> int:
        """What it cost, for the first who asks: it was paid once."""
        nano = 0 if self.claimed else self.reply.result().nano
        self.claimed = True
        return nano
