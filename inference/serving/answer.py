"""What the cascade answers, and where an answer goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from inference.serving.deferral import Outcome
from inference.serving.paid import Question
from inference.serving.sample import Draw
from inference.serving.tier import Guess

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The cascade's answer. `id` is the one that the caller gave, else the request's own.

    `source` is rules, student, teacher or fallback (the best guess, certified by nothing; `reason` says why).
    `accepted` is False for a fallback alone. `intent` is None only where nothing at all could answer. `confidence` is
    None from a teacher. `deferred`: a teacher was asked for this request.
    """

    id: str
    intent: str | None
    confidence: float | None
    accepted: bool
    source: str
    cached: bool
    deferred: bool
    cost_usd: float
    latency_ms: float
    bundle_id: str | None
    reason: str | None = None


@dataclass(slots=True)
class Request:
    """A query between its beginning and its answer."""

    draw: Draw
    caller_id: str | None
    text: str
    redacted: str | None
    started: float
    guess: Guess
    bundle_id: str | None
    asked: Future[Outcome] | None = None
    reason: str | None = None

    @property
    def id(self) -> str:
        """The name by which its caller knows it."""
        return self.caller_id or self.draw.row_id

    def question(self, sample_share: float) -> Question:
        """What the teachers are asked, once it is redacted. The sample's calls have a share of the cap of their own."""
        kept = sample_share if self.draw.rate and not self.draw.sampled else 0.0
        return Question(self.draw.row_id, self.redacted or "", self.draw.sampled, kept)

    @property
    def age_s(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self.started


def check_query(text: object, id: object) -> None:
    """Raise TypeError for a wrong argument of the caller's."""
    if not isinstance(text, str):
        raise TypeError(f"a query must be a str, got {type(text).__name__}")
    if id is not None and not isinstance(id, str):
        raise TypeError(f"an id must be a str, got {type(id).__name__}")


class Router(Generic[T]):
    """Which handler an answer goes to: one per intent, and a default for all others, fallbacks included."""

    def __init__(self, handlers: Mapping[str, Callable[[Answer], T]], default: Callable[[Answer], T]) -> None:
        self.handlers, self.default = dict(handlers), default

    def __call__(self, answer: Answer) -> T:
        """Call the handler and return what it returns."""
        handler = self.handlers.get(answer.intent) if answer.accepted and answer.intent else None
        return (handler or self.default)(answer)
