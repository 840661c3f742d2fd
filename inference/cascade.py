"""The cascade: cache, rules, student, teacher, and the marked best guess where none of them may answer.

    with Cascade.load("models/support", teacher="anthropic:claude-haiku-5-5") as cascade:
        answer = cascade.classify("I was charged twice")

Classification never raises for a reason outside the caller's control; a wrong argument raises at once.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from inference.bundle import BundleError
from inference.cache import Cache, Entry, MemoryCache, RedisCache, normalise
from inference.deferral import Deferral, Outcome, Question
from inference.guard import Ledger
from inference.log import Correction, Decision, DecisionLog
from inference.policy import Policy
from inference.prompt import MOST_CHARACTERS, Prompt
from inference.redact import Redactor, load_redactor
from inference.taxonomy import Taxonomy
from inference.teacher import LabelFunction, Teacher, open_teacher
from inference.tier import NO_GUESS, Guess, Tier, Watch

T = TypeVar("T")
TeacherSpec = str | Teacher | LabelFunction
REMEMBERED = 10_000  # requests whose text `feedback` can find by id
BURST = 20.0  # deferrals that max_teacher_rate lets through in a row
CLOSING_S = 10.0
READ = 4 * MOST_CHARACTERS  # characters of a text; what teachers and the log see is the first quarter at most


@dataclass(frozen=True, slots=True)
class Answer:
    """The cascade's answer.

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
class _Request:
    """A query between its beginning and its answer."""

    id: str
    text: str
    redacted: str | None
    started: float
    guess: Guess
    bundle_id: str | None
    sampled: bool
    asked: Future[Outcome] | None = None
    reason: str | None = None


class Cascade:
    """A local classifier with teachers behind it. Safe to share between threads and tasks, and across a fork.

    Made by `Cascade.load`. Close it, or use it as a context manager, so that what waits is written.
    """

    def __init__(
        self,
        watch: Watch,
        policy: Policy,
        teachers: Sequence[Teacher],
        taxonomy: Taxonomy,
        log: DecisionLog | None,
        ledger: Ledger | None,
        redact: Redactor,
        cache: Cache | None,
    ) -> None:
        self.policy, self.taxonomy, self.log, self.ledger = policy, taxonomy, log, ledger
        self._watch, self._redact, self._cache = watch, redact, cache
        self._deferral = Deferral(teachers, ledger, log, self._remember, policy.call_limit_s, policy.concurrency)
        self._sample_below = int(policy.sample_rate * 2**64)
        self._recent: collections.OrderedDict[str, str] = collections.OrderedDict()
        self._counts: collections.Counter[str] = collections.Counter()
        self._credit = BURST
        self._lock = threading.Lock()
        _open.add(self)

    @classmethod
    def load(
        cls,
        path: str | Path,
        teacher: TeacherSpec | Sequence[TeacherSpec] = (),
        *,
        taxonomy: str | Path | Taxonomy | None = None,
        policy: str | Path | Policy | None = None,
        redactor: Redactor | None = None,
        **settings: Any,
    ) -> Cascade:
        """Serve `path`, models/<name> or one version's folder, with one teacher or several in order.

        Before there is a bundle, `taxonomy` says what the intents are, and the teachers answer everything. `policy` is
        a Policy or a TOML file; `settings` overrule it (see Policy). Raises ValueError for what cannot be, BundleError
        for a bundle that must not be served.
        """
        rules = policy.with_values(settings) if isinstance(policy, Policy) else Policy.load(policy, **settings)
        root = Path(path)
        watch = Watch(root, rules)
        intents = watch.tier.taxonomy if watch.tier else _taxonomy(taxonomy, root)
        given = [teacher] if isinstance(teacher, str) or not isinstance(teacher, Sequence) else list(teacher)
        teachers = [open_teacher(spec, intents) for spec in given]
        if watch.tier is None and not teachers:
            raise ValueError(f"{root} holds no bundle yet, so a teacher is needed")
        redact = _of_the_beginning(
            redactor or load_redactor(rules.redactor or (watch.tier.redactor if watch.tier else "builtin"))
        )
        log = None if rules.log == "none" else DecisionLog(rules.log or root / "decisions.db", spill=root / "spill")
        ledger = Ledger(rules.ledger or root / "spend.db", rules.daily_usd) if teachers else None
        return cls(watch, rules, teachers, intents, log, ledger, redact, _cache(rules, intents, redact))

    def classify(self, text: str, id: str | None = None) -> Answer:
        """Classify one text. `id` names the request in the log; without one it gets one. Raises TypeError."""
        request = self._begin(text, id)
        if request.asked is None or self.policy.deferral != "wait":
            return self._finish(request, None)
        return self._finish(request, _wait(request.asked, self._left(request)))

    async def aclassify(self, text: str, id: str | None = None) -> Answer:
        """The same for asyncio: the local tier runs at once (about a millisecond), a teacher is awaited."""
        request = self._begin(text, id)
        if request.asked is None or self.policy.deferral != "wait":
            return self._finish(request, None)
        asked = asyncio.wrap_future(request.asked)
        done, _ = await asyncio.wait({asked}, timeout=self._left(request))
        return self._finish(request, asked.result() if done else None)

    def classify_many(self, texts: Iterable[str]) -> list[Answer]:
        """Classify texts in order; those that are deferred wait for their teachers together, within one deadline."""
        if isinstance(texts, str):
            raise TypeError("classify_many takes several texts; for one text call classify")
        requests = [self._begin(text, None) for text in texts]
        until = time.perf_counter() + self.policy.deadline_s
        wait = self.policy.deferral == "wait"
        return [
            self._finish(request, _wait(request.asked, until - time.perf_counter()) if request.asked and wait else None)
            for request in requests
        ]

    # The policy, in the order in which it is applied.

    def _begin(self, text: str, id: str | None) -> _Request:
        if not isinstance(text, str):
            raise TypeError(f"a query must be a str, got {type(text).__name__}")
        started = time.perf_counter()
        if not self._watch.running:
            self._watch.start()
        tier = self._watch.tier
        bundle_id = tier.bundle_id if tier else None
        id = id or secrets.token_hex(8)
        guess, redacted = self._guess(text, tier, bundle_id)
        request = _Request(id, text, redacted, started, guess, bundle_id, self._is_sampled(id))
        if not guess.accepted:
            request.reason = self._why_not_ask(request)
            if request.reason is None:
                deadline = self.policy.deadline_s if self.policy.deferral == "wait" else None
                request.asked = self._ask(request, deadline)
        return request

    def _guess(self, text: str, tier: Tier | None, bundle_id: str | None) -> tuple[Guess, str | None]:
        """The cached answer, else the local tier's; with the redacted text, where that was needed."""
        try:
            entry = self._cache.get(text, bundle_id) if self._cache else None
            if entry is not None:
                return Guess(entry.intent, entry.confidence, True, entry.source, True), None
            redacted = self._redact(text)
            guess = NO_GUESS if tier is None else tier.guess(redacted)
        except Exception as error:  # a redactor of the application's own, or a model that fails at run time
            self._counts[f"local tier failed: {type(error).__name__}"] += 1
            return NO_GUESS, None
        if guess.accepted:
            self._keep(text, Entry(str(guess.intent), guess.confidence, guess.source, bundle_id))
        return guess, redacted

    def _why_not_ask(self, request: _Request) -> str | None:
        """Why a query that is not accepted stays here all the same; None if a teacher may be asked."""
        if self.policy.deferral == "never":
            return "the policy never defers"
        if not self._deferral.teachers:
            return "there is no teacher"
        if request.redacted is None:
            return "it could not be redacted"
        if not self._within_rate():
            return "max_teacher_rate is reached"
        return None

    def _finish(self, request: _Request, outcome: Outcome | None) -> Answer:
        guess, asked = request.guess, request.asked is not None
        reason, cost = request.reason, 0.0
        if asked:
            if outcome is None:
                late = f"no answer within {self.policy.deadline_s:g} s"
                reason = late if self.policy.deferral == "wait" else "a teacher is asked in the background"
            elif outcome.intent is not None:
                guess, reason = Guess(outcome.intent, None, True, "teacher"), None
                if request.text != request.redacted:  # under its redacted text it is cached already
                    self._keep(request.text, Entry(outcome.intent, None, "teacher", None))
            else:
                reason = outcome.reason
            cost = outcome.nano / 1e9 if outcome else 0.0
        latency_ms = (time.perf_counter() - request.started) * 1000
        answer = Answer(
            request.id, guess.intent, guess.confidence, guess.accepted, guess.source, guess.cached, asked, cost,
            latency_ms, request.bundle_id, reason,
        )  # fmt: skip
        self._record(request, answer)
        return answer

    def _is_sampled(self, id: str) -> bool:
        """Whether a hash of the request's id puts it into the uniform sample, whatever the query is."""
        if not self._sample_below:
            return False
        digest = hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=8).digest()
        return int.from_bytes(digest) < self._sample_below

    def _within_rate(self) -> bool:
        if self.policy.max_teacher_rate == 1:
            return True
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True

    def _ask(self, request: _Request, deadline_s: float | None) -> Future[Outcome]:
        redacted = request.redacted if request.redacted is not None else self._redact(request.text)
        return self._deferral.ask(Question(request.id, redacted, request.sampled), deadline_s)

    def _left(self, request: _Request) -> float:
        return self.policy.deadline_s - (time.perf_counter() - request.started)

    def _record(self, request: _Request, answer: Answer) -> None:
        with self._lock:
            self._credit = min(BURST, self._credit + self.policy.max_teacher_rate)
            self._counts[answer.source] += 1
            self._counts["cached"] += answer.cached
            self._counts["deferred"] += answer.deferred
            self._recent[request.id] = request.text[:MOST_CHARACTERS]
            if len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        if request.sampled and not answer.deferred and self._deferral.teachers and self.policy.deferral != "never":
            self._sample(request)
        if self.log is not None:
            self._write(request, answer, self.log)

    def _sample(self, request: _Request) -> None:
        try:
            self._ask(request, None)
        except Exception as error:  # a redactor of the application's own
            self._counts[f"sample failed: {type(error).__name__}"] += 1

    def _write(self, request: _Request, answer: Answer, log: DecisionLog) -> None:
        nano = round(answer.cost_usd * 1e9)
        log.count(
            answer.source, answer.intent, answer.cached, answer.deferred, answer.accepted, request.guess.confidence,
            answer.latency_ms, nano,
        )  # fmt: skip
        if answer.accepted and not answer.deferred and not request.sampled:
            return
        try:
            redacted = request.redacted if request.redacted is not None else self._redact(request.text)
        except Exception:
            return  # what cannot be redacted is not written
        log.put(
            Decision(
                answer.id, time.time(), redacted, answer.intent, answer.confidence, answer.accepted, answer.source,
                answer.cached, answer.deferred, request.sampled, answer.bundle_id, answer.latency_ms, answer.reason,
            )
        )  # fmt: skip

    def _keep(self, text: str, entry: Entry) -> None:
        if self._cache is not None:
            self._cache.put(text, entry)

    def _remember(self, redacted: str, outcome: Outcome) -> None:
        """Cache a teacher's answer under the redacted text, which for most queries is the text itself."""
        self._keep(redacted, Entry(str(outcome.intent), None, "teacher", None))

    def feedback(self, id: str, intent: str, text: str | None = None) -> None:
        """Record a person's correction of request `id`. `text` is needed for a request of more than 10,000 ago.

        Raises ValueError for an intent outside the taxonomy, and KeyError for a request that is not known any more.
        """
        tier = self._watch.tier
        names = (tier.taxonomy if tier else self.taxonomy).names
        if intent not in names:
            raise ValueError(f"{intent!r} is not an intent; known are {', '.join(names)}")
        if text is None:
            with self._lock:
                text = self._recent.get(id)
        if text is None:
            raise KeyError(f"request {id!r} is not known any more: give its text")
        if self.log is None:
            raise ValueError("there is no log to record a correction in")
        self.log.put(Correction(id, time.time(), self._redact(text), intent))

    def stats(self) -> dict[str, Any]:
        """Counts by source, and the state of every part: for a person, or for monitoring."""
        tier = self._watch.tier
        with self._lock:
            counts = dict(self._counts)
        return {
            "answers": counts,
            "bundle_id": tier.bundle_id if tier else None,
            "refused_bundle": self._watch.refused,
            "breakers": {
                teacher.name: breaker.state
                for teacher, breaker in zip(self._deferral.teachers, self._deferral.breakers, strict=True)
            },
            "redis": self._cache.redis.stats() if self._cache and self._cache.redis else None,
            "log": self.log.stats() if self.log else None,
        }

    def close(self) -> None:
        """Wait a while for calls under way, then write what is to be written and let go of everything."""
        self._watch.stop()
        self._deferral.close(CLOSING_S)
        if self.log is not None:
            self.log.close()
        if self.ledger is not None:
            self.ledger.close()
        if self._cache is not None and self._cache.redis is not None:
            self._cache.redis.close()

    def __enter__(self) -> Cascade:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._watch.after_fork()
        self._deferral.after_fork()


class Router(Generic[T]):
    """Which handler an answer goes to: one per intent, and a default for all others, fallbacks included."""

    def __init__(self, handlers: Mapping[str, Callable[[Answer], T]], default: Callable[[Answer], T]) -> None:
        self.handlers, self.default = dict(handlers), default

    def __call__(self, answer: Answer) -> T:
        """Call the handler and return what it returns."""
        handler = self.handlers.get(answer.intent) if answer.accepted and answer.intent else None
        return (handler or self.default)(answer)


def _wait(asked: Future[Outcome], left_s: float) -> Outcome | None:
    try:
        return asked.result(max(0.0, left_s))
    except TimeoutError:
        return None


def _of_the_beginning(redact: Redactor) -> Redactor:
    """Redact what is read of a text; a word that the cut divides is left out, since half a secret is not recognised."""

    def beginning(text: str) -> str:
        if len(text) > READ:
            text = text[:READ].rpartition(" ")[0]
        return redact(text)

    return beginning


def _taxonomy(given: str | Path | Taxonomy | None, root: Path) -> Taxonomy:
    if given is None:
        raise BundleError(f"{root} holds no bundle yet; give a taxonomy to start with a teacher alone")
    return given if isinstance(given, Taxonomy) else Taxonomy.load(Path(given))


def _cache(policy: Policy, taxonomy: Taxonomy, redact: Redactor) -> Cache | None:
    if not policy.cache_size:
        return None
    memory = MemoryCache(policy.cache_size, policy.cache_ttl_s)
    if not policy.redis:
        return Cache(memory)
    prefix = f"monoku:{Prompt.of(taxonomy).id}"

    def prepare(text: str) -> str:
        return normalise(redact(text))

    return Cache(memory, RedisCache(policy.redis, prefix, policy.cache_ttl_s, labels=taxonomy.names, prepare=prepare))


_open: weakref.WeakSet[Cascade] = weakref.WeakSet()


def _forked() -> None:
    for cascade in list(_open):
        cascade._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
