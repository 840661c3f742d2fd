"""The cascade: cache, rules, student, teacher, and the marked best guess where none of them may answer.

    with Cascade.load("models/support", teacher="anthropic:claude-haiku-5-5") as cascade:
        answer = cascade.classify("I was charged twice")

Classification never raises for a reason outside the caller's control; a wrong argument raises at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

from inference.bundle.manifest import VERSION
from inference.bundle.redact import Redactor, load_redactor, of_the_beginning
from inference.bundle.taxonomy import Taxonomy
from inference.cache.memory import Entry
from inference.cache.shared import Cache
from inference.common.fork import ProcessLocal, attempt, forks_later, notice, register
from inference.common.text import Forgotten, canonical
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.money.prices import dollars
from inference.serving.answer import Answer, Request, Router, check_query
from inference.serving.assemble import TeacherSpec, check_stores, choose_redactor, choose_taxonomy, make_cache, make_log
from inference.serving.deferral import Deferral, Outcome
from inference.serving.forget import forget
from inference.serving.policy import Policy
from inference.serving.rate import Rate
from inference.serving.recorder import Recorder
from inference.serving.sample import Sampler, shared_secret
from inference.serving.tier import NO_GUESS, Guess, Tier
from inference.serving.watch import Watch
from inference.teachers.registry import open_teacher
from inference.teachers.teacher import Teacher

__all__ = ["Answer", "Cascade", "Router"]
CLOSING_S = 10.0


class Cascade(ProcessLocal):
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
        self._redis = cache.redis if cache is not None else None
        limits, question = (policy.call_limit_s, policy.concurrency), taxonomy.question_id()
        self._deferral = Deferral(teachers, ledger, log, self._remember, *limits, question)
        self._recorder = Recorder(log, redact, teachers[0].prompt_id if teachers else "", question)
        self._rate, self._sampler = Rate(policy.max_teacher_rate), Sampler(policy, shared_secret(log))
        never = "the policy never defers" if policy.deferral == "never" else ""
        self._never_asks = never or ("" if teachers else "there is no teacher")
        register(self)

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
        a Policy or a TOML file; `settings` overrule it (see Policy). Raises ValueError if an argument or a setting is
        invalid or a store does not work (see `stores`), BundleError if the bundle must not be served.
        """
        rules = policy.with_values(settings) if isinstance(policy, Policy) else Policy.load(policy, **settings)
        root = Path(path).absolute()
        home = root.parent if VERSION.fullmatch(root.name) else root  # versions come and go
        # A bundle may name a custom redactor, but only the application says which code that is.
        own = redactor or (load_redactor(rules.redactor) if ":" in rules.redactor else None)
        watch = Watch(root, rules, own)
        intents = watch.tier.taxonomy if watch.tier else choose_taxonomy(taxonomy, root)
        watch.names = intents.names
        given = [teacher] if isinstance(teacher, str) or not isinstance(teacher, Sequence) else list(teacher)
        teachers = [open_teacher(spec, intents) for spec in given]
        if watch.tier is None and not teachers:
            raise ValueError(f"{root} has no bundle yet: give a teacher, which answers until there is one")
        redact = of_the_beginning(own or choose_redactor(rules, watch.tier))
        log = make_log(rules, home)
        ledger = Ledger(rules.ledger or home / "spend.db", rules.daily_usd) if teachers else None
        check_stores(rules, log, ledger, cache := make_cache(rules, intents, redact))
        return cls(watch, rules, teachers, intents, log, ledger, redact, cache)

    def classify(self, text: str, id: str | None = None) -> Answer:
        """Classify one text. `id` names the request for `feedback` and in the log, and may repeat: a conversation's.

        Raises TypeError if `text` or `id` is not a string.
        """
        request = self._begin(text, id)
        return self._finish(request, self._wait(request, self.policy.deadline_s - request.age_s))

    async def aclassify(self, text: str, id: str | None = None) -> Answer:
        """The same for asyncio: the local tier runs at once (about a millisecond), a teacher is awaited."""
        request = self._begin(text, id)
        if request.asked is None or self.policy.deferral != "wait":
            return self._finish(request, None)
        asked = asyncio.wrap_future(request.asked)
        done, _ = await asyncio.wait({asked}, timeout=self.policy.deadline_s - request.age_s)
        answered = bool(done) and not asked.cancelled() and asked.exception() is None
        return self._finish(request, asked.result() if answered else None)

    def classify_many(self, texts: Iterable[str]) -> list[Answer]:
        """Classify texts in order; those that are deferred wait for their teachers together, within one deadline."""
        if isinstance(texts, str):
            raise TypeError("classify_many takes several texts; for one text call classify")
        requests = [self._begin(text, None) for text in texts]
        until = time.perf_counter() + self.policy.deadline_s
        return [self._finish(request, self._wait(request, until - time.perf_counter())) for request in requests]

    # The policy, in the order in which it is applied.

    def _begin(self, text: str, id: str | None) -> Request:
        check_query(text, id)
        started = time.perf_counter()
        notice()
        if not self._watch.worker.running:
            self._watch.worker.start()
        tier = self._watch.tier
        bundle_id = tier.bundle_id if tier else None
        draw = self._sampler.draw(text, id or None, serving=tier is not None)
        guess, redacted = self._guess(text, tier, bundle_id)
        request = Request(draw, id or None, text, redacted, started, guess, bundle_id)
        if not guess.accepted:
            request.reason = self._why_not_ask(request)
            if request.reason is None:
                deadline = self.policy.deadline_s if self.policy.deferral == "wait" else None
                self._try_to_ask(request, deadline)
        return request

    def _try_to_ask(self, request: Request, deadline_s: float | None) -> None:
        try:
            request.asked = self._ask(request, deadline_s)
        except Exception as error:  # no thread to be had, or the cascade is being closed
            request.reason = f"no teacher could be asked: {error}"

    def _guess(self, text: str, tier: Tier | None, bundle_id: str | None) -> tuple[Guess, str | None]:
        """The cached answer, else the local tier's; with the redacted text, where that was needed."""
        try:
            entry = self._cache.get(text, bundle_id) if self._cache else None
            if entry is not None:
                return Guess(entry.intent, entry.confidence, True, entry.source, True), None
            redacted = self._redact(text)
            guess = NO_GUESS if tier is None else tier.guess(redacted)
        except Exception as error:  # a redactor of the application's own, or a model that fails at run time
            self._recorder.note(f"local tier failed: {type(error).__name__}")
            return NO_GUESS, None
        if guess.accepted and self._cache is not None:
            self._cache.put(text, Entry(str(guess.intent), guess.confidence, guess.source, bundle_id))
        return guess, redacted

    def _why_not_ask(self, request: Request) -> str | None:
        """Why a query that is not accepted stays here all the same; None if a teacher may be asked."""
        if self._never_asks:
            return self._never_asks
        if request.redacted is None:
            return "it could not be redacted"
        if not self._rate.allows(free=request.draw.sampled):
            return "max_teacher_rate is reached"
        return None

    def _finish(self, request: Request, outcome: Outcome | None) -> Answer:
        guess, asked = request.guess, request.asked is not None
        reason, cost = request.reason, 0.0
        if asked:
            if outcome is None:
                late = f"no answer within {self.policy.deadline_s:g} s"
                reason = late if self.policy.deferral == "wait" else "a teacher is asked in the background"
            elif outcome.intent is not None:
                guess, reason = Guess(outcome.intent, None, True, "teacher"), None
                # Under its redacted text it is cached already; the sample's answers are for the log alone.
                if request.text != request.redacted and not request.draw.sampled:
                    self._remember(request.text, outcome)
            else:
                reason = outcome.reason
            cost = dollars(outcome.nano) if outcome else 0.0
        answer = Answer(request.id, *guess, asked, cost, request.age_s * 1000, request.bundle_id, reason)
        self._record(request, answer)
        return answer

    def _ask(self, request: Request, deadline_s: float | None) -> Future[Outcome]:
        if request.redacted is None:
            request.redacted = self._redact(request.text)
        return self._deferral.ask(request.question(self.policy.sample_share), deadline_s)

    def _wait(self, request: Request, left_s: float) -> Outcome | None:
        """What the teachers said, if they were asked and may be waited for; None where it is late."""
        if request.asked is None or self.policy.deferral != "wait":
            return None
        try:
            return request.asked.result(max(0.0, left_s))
        except Exception:  # late, or cancelled, since the cascade is being closed
            return None

    def _record(self, request: Request, answer: Answer) -> None:
        self._rate.earn()
        if request.draw.sampled and not answer.deferred and not self._never_asks:
            self._sample(request)
        self._recorder.record(request, answer)
        if forks_later():
            self._rest()

    def _sample(self, request: Request) -> None:
        try:
            self._ask(request, None)
        except Exception as error:  # a redactor of the application's own
            self._recorder.note(f"sample failed: {type(error).__name__}")

    def _remember(self, text: str, outcome: Outcome) -> None:
        """Cache a teacher's answer: under the redacted text first, which for most queries is the text itself."""
        if self._cache is not None:
            self._cache.put(text, Entry(str(outcome.intent), None, "teacher", None))

    def feedback(self, id: str, intent: str, text: str | None = None) -> None:
        """Record a person's correction of the newest request whose answer has this `id`.

        `text` is needed for one of more than 10,000 ago. Raises ValueError if the intent is not in the taxonomy,
        KeyError if the request is no longer remembered.
        """
        notice()
        names = (self._watch.tier or self).taxonomy.names
        intent = canonical(str(intent))
        if intent not in names:
            raise ValueError(f"{intent!r} is not an intent; the intents are {', '.join(names)}")
        self._recorder.correct(id, intent, text)
        if forks_later():
            self._rest()

    def forget(self, text: str) -> dict[str, int]:
        """Delete a person's text from the log, its spill files and the caches; how many rows went, by place.

        `python -m training.forget` reaches training data too; other processes' memory keeps it for cache_ttl_s at most.
        Raises LogError or NoReply if a place cannot be reached: do it again then.
        """
        return forget(Forgotten(text, self._redact), self._cache, self.policy.redis, self._recorder)

    def stats(self) -> dict[str, Any]:
        """Counts by source, and the state of every part: for a person, or for monitoring."""
        notice()
        tier = self._watch.tier
        parts = (self._watch, self._deferral, self.log, self._redis)
        return {
            "answers": self._recorder.counts(),
            "bundle_id": tier.bundle_id if tier else None,
            "refused_bundle": self._watch.refused,
            "other_redaction": (tier.other_redaction or None) if tier else None,
            "breakers": self._deferral.states(),
            "redis": self._redis.stats() if self._redis else None,
            "log": self.log.stats() if self.log else None,
            "workers": {part.worker.name: part.worker.state() for part in parts if part is not None},
        }

    def close(self) -> None:
        """Wait a while for calls under way, then write what is to be written and let go of everything."""
        notice()
        self._rest()
        for part in (self.ledger, self._redis):
            if part is not None:
                attempt(part.close)

    def _rest(self) -> None:
        """Write what waits, and have no thread at work until the next call."""
        attempt(self._watch.stop)
        attempt(partial(self._deferral.close, CLOSING_S))
        if self.log is not None:
            attempt(self.log.close)

    def __enter__(self) -> Cascade:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def at_exit(self) -> None:
        """Calls under way are given a while to end, so that what was paid for is kept."""
        self.close()
