"""The cascade: cache, rules, student, teacher, and the marked best guess where none of them may answer.

Classification never raises for a reason outside the caller's control; a wrong argument raises at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inference.bundle.manifest import VERSION
from inference.bundle.redact import Redactor, load_redactor, of_the_beginning
from inference.bundle.taxonomy import Taxonomy
from inference.bundle.travel import fetch
from inference.cache.memory import Entry, normalise
from inference.cache.shared import Cache
from inference.common.fork import attempt, forks_later, notice, register
from inference.common.places import is_url
from inference.common.text import Forgotten
from inference.common.workers import weakly
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.money.prices import dollars
from inference.serving.answer import Answer, Request, Router, answer, check_intent, check_query
from inference.serving.asking import Asking
from inference.serving.assemble import check_stores, choose_redactor, choose_taxonomy, make_cache, make_log
from inference.serving.closing import Closing
from inference.serving.deferral import MOST_WAITING, Deferral
from inference.serving.flight import Outcome, Wish
from inference.serving.forget import forget
from inference.serving.guard import Guard, State
from inference.serving.known import Known
from inference.serving.measured import Measured
from inference.serving.paid import warn_of_unpriced
from inference.serving.policy import Policy
from inference.serving.recorder import Recorder
from inference.serving.sample import Sampler, shared_secret
from inference.serving.spans import with_spans
from inference.serving.tier import NO_GUESS
from inference.serving.trial import Beside
from inference.serving.turns import Turns
from inference.serving.watch import Watch
from inference.teachers.registry import TeacherSpec, open_teachers
from inference.teachers.teacher import Teacher

__all__ = ["Answer", "Cascade", "Router"]
CLOSING_S = 10.0
AT_ONCE = MOST_WAITING // 2  # of one batch, at the teachers: others have room too
LONG = 1000  # characters from which on redaction has a turn of its own on an event loop


class Cascade(Closing):
    """A local classifier with teachers behind it. Safe to share between threads and tasks, and across a fork.

    Made by `Cascade.load`. Close it, or use it as a context manager, so that what waits is written.

    Examples:
        >>> with Cascade.load("models/support", teacher=lambda text: "payments") as cascade:
        ...     cascade.classify("undo the refund please").intent
        'payments'
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
        self._deferral = Deferral(
            teachers, ledger, log, weakly(self._on_answer), *limits, question, taxonomy.names, redact,
            policy.refusal_ttl_s, weakly(self._answered),
        )  # fmt: skip
        self._recorder = Recorder(log, redact, teachers[0].prompt_id if teachers else "", question)
        self._known, self._turns = Known(cache, redact, self._recorder.note), Turns()
        self._asking = Asking(policy, self._deferral, self._known, redact, self._recorder.note)
        self._sampler = Sampler(policy, shared_secret(log))
        watch.serve(self._sampler.serve_at, Beside(log, redact))
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
        on_alarm: Callable[[State], object] | None = None,
        **settings: Any,
    ) -> Cascade:
        """Serve `path`, models/<name>, one version's folder or a URL, with one teacher or several in order.

        What serves at a URL is fetched, and looked at again every half minute (extra `bulk`). Before there is a bundle,
        `taxonomy` names the intents and the teachers answer everything. `policy` is a Policy or a TOML file; `settings`
        overrule it. `on_alarm` is called, on another thread, with the state of the promise once audited answers broke
        it. Raises ValueError if an argument, setting or store is invalid (see `stores`), BundleError if a bundle is.
        """
        rules = policy.with_values(settings) if isinstance(policy, Policy) else Policy.load(policy, **settings)
        url = str(path) if is_url(path) else None
        root = Path(path).absolute() if url is None else fetch(url)
        home = root.parent if VERSION.fullmatch(root.name) else root  # versions come and go
        # A bundle may name a custom redactor, but only the application says which code that is.
        own = redactor or (load_redactor(rules.redactor) if ":" in rules.redactor else None)
        watch = Watch(root, rules, own, url)
        intents = choose_taxonomy(taxonomy, root, watch.tier)
        watch.names = intents.names
        kind, teachers = with_spans(rules, cls, open_teachers(teacher, intents))
        if watch.tier is None and not teachers:
            raise ValueError(f"{root} has no bundle yet: give a teacher, which answers until there is one")
        redact = of_the_beginning(own or choose_redactor(rules, watch.tier))
        log = make_log(rules, home)
        ledger = Ledger(rules.ledger or home / "spend.db", rules.daily_usd) if teachers else None
        warn_of_unpriced(teachers, rules.daily_usd)
        check_stores(rules, log, ledger, cache := make_cache(rules, intents, redact))
        watch.watched_by(Guard(log, home, rules, bool(teachers), on_alarm, intents.question_id()))
        return kind(watch, rules, teachers, intents, log, ledger, redact, cache)

    def classify(self, text: str, id: str | None = None) -> Answer:
        """Classify one text. `id` names the request for `feedback` and in the log, and may repeat: a conversation's.

        The same text under the same `id` within ten minutes is a retry, which counts once in the sample.
        Raises TypeError if `text` or `id` is not a string.
        """
        request = self._begin(text, id)
        if request.guess.accepted or self._look(request):
            return self._finish(request, None)
        self._asking.begin(request)
        return self._finish(request, self._asking.wait(request))

    async def aclassify(self, text: str, id: str | None = None) -> Answer:
        """The same for asyncio: a teacher is awaited, and between two texts that the local tier reads others run."""
        request = self._begin(text, id)
        if request.guess.accepted:
            return self._finish(request, None)
        if len(text) > LONG:
            async with self._turns.turn():
                self._known.redact(request)
        async with self._turns.turn():
            if not self._look(request):
                self._asking.begin(request)
        try:
            outcome = await self._asking.wait_async(request)
        except asyncio.CancelledError:
            self._finish(request, None)  # asked and paid for all the same
            raise
        return self._finish(request, outcome)

    def classify_many(self, texts: Iterable[str]) -> list[Answer]:
        """Classify texts in order; those that are deferred wait for their teachers together, within one deadline.

        Raises TypeError before any is asked about, if one of them is not a string.
        """
        if isinstance(texts, str):
            raise TypeError("classify_many takes several texts; for one text call classify")
        texts, wish, left_s = list(texts), Wish(), self.policy.deadline_s
        for text in texts:
            check_query(text, None)
        try:
            requests: list[Request] = []
            deferred: list[Request] = []
            for text in texts:
                request = self._begin(text, None)
                requests.append(request)
                if not (request.guess.accepted or self._look(request)):
                    self._asking.begin(request, wish)
                    deferred.append(request)
                    if len(deferred) > AT_ONCE:  # the oldest goes first, so that there is room for the next
                        left_s = self._asking.let_land(deferred[-AT_ONCE], left_s)
            wish.until = time.monotonic() + left_s
            return [self._finish(request, self._asking.wait(request)) for request in requests]
        finally:
            wish.until = 0.0

    def _begin(self, text: str, id: str | None) -> Request:
        check_query(text, id)
        started = time.perf_counter()
        notice()
        watch = self._watch
        if not watch.worker.running:
            watch.worker.start()
        tier = watch.tier
        draw = self._sampler.draw(text, id or None, tier is not None and tier.answers)
        guess = self._known.hit(text, tier) or NO_GUESS
        request = Request(draw, id or None, text, None, started, guess, tier.bundle_id if tier else None, tier)
        if (trial := watch.trial) is not None:
            trial.claim(request, self._sampler.anew)
        if request.guess.accepted:
            self._asking.rate.earn()
        return request

    def _look(self, request: Request) -> bool:
        """Answer or guess a query that is not known as it was typed; False if a teacher is to be asked."""
        self._asking.rate.earn()  # not as it began: of many at once, most wait for their turn before they spend
        self._known.look(request)
        if not request.guess.accepted and request.reason is None:
            request.reason = self._asking.why_not(request)
        return request.guess.accepted or request.reason is not None

    def _finish(self, request: Request, outcome: Outcome | None) -> Answer:
        guess, reason, asked, cost = request.guess, request.reason, request.asked is not None, 0.0
        if asked:
            guess, reason = self._asking.judge(request, outcome)
            cost = dollars(outcome.nano) if outcome else 0.0
        if request.trouble and not guess.accepted:
            reason = f"{request.trouble}; {reason}"
        found = answer(
            request.caller_id or request.draw.row_id, guess.intent, guess.confidence, guess.accepted, guess.source,
            guess.cached, asked, cost, request.age_s * 1000, request.bundle_id, reason,
        )  # fmt: skip
        if request.draw.sampled:
            self._asking.sample(request)
            self._watch.compare(request)
        self._recorder.record(request, found)
        if forks_later():
            self._rest()
        return found

    def _on_answer(self, redacted: str, outcome: Outcome) -> None:
        """Keep a teacher's answer: every text that is redacted to this one leads to it."""
        entry = Entry(str(outcome.intent), None, "teacher", None)
        self._known.keep(redacted, redacted, entry, self._watch.tier)

    def _answered(self, redacted: str) -> Outcome | None:
        guess = self._known.told(normalise(redacted), self._watch.tier)
        return None if guess is None else Outcome(guess.intent, "", 0, source=guess.source)

    def feedback(self, id: str, intent: str, text: str | None = None) -> None:
        """Record a person's correction of the newest request whose answer has this `id`.

        From then on this text, and every other that becomes the same by redaction, is answered so (source "human"),
        here and through Redis, for `cache_ttl_s` or until a bundle serves that was trained on it. So let only those
        call it whose word may stand for everybody: your staff, not whoever sent the text.

        `text` is needed for one of more than 10,000 ago. Raises ValueError if the intent is not in the taxonomy,
        KeyError if the request is no longer remembered.
        """
        notice()
        names = (self._watch.tier or self).taxonomy.names
        intent = check_intent(intent, names)
        self._known.correct(self._recorder.correct(id, intent, text), intent)
        if forks_later():
            self._rest()

    def forget(self, text: str) -> dict[str, int]:
        """Delete a person's text from the log, its spill files and the caches; how many rows went, by place.

        `python -m training.forget` reaches training data too; other processes' memory keeps it for cache_ttl_s at most.
        Raises LogError or NoReply if a place cannot be reached: do it again then.
        """
        return forget(
            Forgotten(text, self._redact), self._cache, self.policy.redis, self._recorder, self._deferral.refusals
        )

    def stats(self) -> dict[str, Any]:
        """Counts by source, and the state of every part: for a person, or for monitoring."""
        notice()
        parts = (self._watch, self._watch.guard, self._watch.trials.beside, self._deferral, self.log, self._redis)
        return {
            "answers": self._recorder.counts(),
            **self._watch.stats(),
            "breakers": self._deferral.states(),
            "spend": self.ledger.known() if self.ledger else None,
            "measured": self._recorder.measured.figures() if self._recorder.measured else None,
            "redis": self._redis.stats() if self._redis else None,
            "log": self.log.stats() if self.log else None,
            "workers": {part.worker.name: part.worker.state() for part in parts if part is not None},
        }

    def measure(self) -> None:
        """From now on, `stats()["measured"]` counts answers by intent and how long they took: for metrics."""
        self._recorder.measured = self._recorder.measured or Measured()

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
