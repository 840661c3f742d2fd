"""What the cascade answers, and where an answer goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, make_dataclass
from typing import Any, Generic, TypeVar, cast

from inference.bundle.redact import beginning
from inference.cache.memory import Entry
from inference.common.text import MOST_CHARACTERS, canonical
from inference.serving.flight import Outcome, Wish
from inference.serving.paid import Question
from inference.serving.sample import Draw
from inference.serving.tier import Guess, Tier

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """The cascade's answer. `id` is the one that the caller gave, else the request's own.

    `source` is rules, exit, student, teacher, human (a person's correction of this text, see `Cascade.feedback`) or
    fallback (the best guess, certified by nothing; `reason` says why).
    `accepted` is False for a fallback alone. `intent` is None only where nothing at all could answer. `confidence` is
    None from a teacher or a person. `deferred`: it was given to the teachers. `cost_usd` is what they charged until it
    was given, refusals included.

    Examples:
        >>> with Cascade.load("models/support", log="none") as cascade:
        ...     found = cascade.classify("undo the refund please")
        >>> found.intent, found.accepted, found.cost_usd
        ('payments', True, 0.0)
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


# An Answer in the making: the same fields in the same slots, without the cost of a frozen __init__.
_Draft = make_dataclass("_Draft", [(field.name, field.type) for field in fields(Answer)], slots=True)


def answer(*values: Any) -> Answer:
    """An Answer of all its fields in order. Its own `__init__` takes a third of a cache hit: it is frozen."""
    draft: Any = _Draft(*values)
    draft.__class__ = Answer
    return cast(Answer, draft)


@dataclass(slots=True)
class Request:
    """A query between its beginning and its answer.

    `trouble` is what went wrong on the local side; `wish` is until when its caller wants a teacher's answer.
    """

    draw: Draw
    caller_id: str | None
    text: str
    redacted: str | None
    started: float
    guess: Guess | Entry
    bundle_id: str | None
    tier: Tier | None = None
    asked: Future[Outcome] | None = None
    reason: str | None = None
    trouble: str | None = None
    wish: Wish | None = None
    canary: Tier | None = None  # the bundle on trial, where it answers in the place of `tier`

    @property
    def id(self) -> str:
        """The name by which its caller knows it."""
        return self.caller_id or self.draw.row_id

    def question(self, sample_share: float) -> Question:
        """What the teachers are asked, once it is redacted. The sample's calls have a share of the cap of their own."""
        kept = sample_share if self.draw.rate and not self.draw.sampled else 0.0
        return Question(self.draw.row_id, self.redacted or "", self.draw.sampled, kept)

    @property
    def beginning(self) -> str:
        """As much of the text as anything depends on."""
        return self.text if len(self.text) <= MOST_CHARACTERS else beginning(self.text)

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


def check_intent(intent: object, names: Sequence[str]) -> str:
    """The intent as it is written everywhere. Raises ValueError if it is none of `names`."""
    found = canonical(str(intent))
    if found not in names:
        raise ValueError(f"{found!r} is not an intent; the intents are {', '.join(names)}")
    return found


class Router(Generic[T]):
    """Which handler an answer goes to: one per intent, and a default for all others, fallbacks included.

    Examples:
        >>> route = Router({"payments": lambda answer: "billing desk"}, default=lambda answer: "front desk")
        >>> with Cascade.load("models/support", log="none") as cascade:
        ...     route(cascade.classify("undo the refund please"))
        'billing desk'
    """

    def __init__(self, handlers: Mapping[str, Callable[[Answer], T]], default: Callable[[Answer], T]) -> None:
        self.handlers, self.default = dict(handlers), default

    def __call__(self, answer: Answer) -> T:
        """Call the handler and return what it returns."""
        handler = self.handlers.get(answer.intent) if answer.accepted and answer.intent else None
        return (handler or self.default)(answer)
