"""What can be said of a query without a teacher: what is known of it already, else what the local tier says."""

from __future__ import annotations

import time
from collections.abc import Callable

from inference.bundle.redact import Redactor
from inference.cache.memory import Entry, MemoryCache, normalise
from inference.cache.shared import Cache
from inference.serving.answer import Request
from inference.serving.tier import Tier

DAY_ZERO: tuple[str | None, float] = (None, 0.0)  # as Tier.serving


class Known:
    """Finds and keeps answers. One key for one text: as it was typed it leads to its redacted, normalised form.

    Whatever fails here, Redis, the model or a redactor of the application's own, is told to `note` and ends nothing.
    """

    def __init__(self, cache: Cache | None, redact: Redactor, note: Callable[[str], None]) -> None:
        self._memory = cache.memory if cache is not None else None
        self._redis = cache.redis if cache is not None else None
        self._redact, self._note = redact, note

    def hit(self, text: str, tier: Tier | None) -> Entry | None:
        """The answer that this process knows to `text` as it was typed: all that most requests need."""
        if self._memory is None:
            return None
        return self._memory.get(text, *(DAY_ZERO if tier is None else tier.serving))

    def told(self, text: str, tier: Tier | None) -> Entry | None:
        """The same of what a teacher or a person said: one bundle's answer is none of another, which was not sure."""
        found = self.hit(text, tier)
        return None if found is None or found.bundle_id is not None else found

    def redact(self, request: Request) -> None:
        """Redact the query; where that fails the reason says so."""
        try:
            redacted = self._redact(request.text)
            if not isinstance(redacted, str):
                raise TypeError(f"a redactor must return str, got {type(redacted).__name__}")
            request.redacted = redacted
        except Exception as error:
            self._fails("redaction", error)
            request.reason = "it could not be redacted"

    def look(self, request: Request) -> None:
        """Redact the query and answer or guess it. Without a reason the request may go on to a teacher."""
        if request.redacted is None and request.reason is None:
            self.redact(request)
        if request.redacted is None:
            return
        tier = request.tier
        key = normalise(request.redacted)
        entry = self._find(request.text, key, tier)
        if entry is not None and (request.canary is None or entry.bundle_id is None):
            request.guess = entry
        elif tier is not None:
            self._guess(request, request.redacted, key, tier)

    def _guess(self, request: Request, redacted: str, key: str, tier: Tier) -> None:
        try:
            guess = (request.canary or tier).guess(redacted)
        except Exception as error:  # a model may fail at run time, as where memory is short
            self._fails("local tier", error)
            request.trouble = f"the local model failed ({type(error).__name__})"
            return
        request.guess = guess
        if guess.accepted and request.canary is None:  # callers beside it wait for the serving bundle's answers
            entry = Entry(str(guess.intent), guess.confidence, guess.source, tier.serving[0])
            self._keep(request.text, key, entry, tier)

    def _find(self, text: str, key: str, tier: Tier | None) -> Entry | None:
        if self._memory is None:
            return None
        try:
            entry = self._under(key, self._memory, tier)
            if entry is not None:
                self._memory.link(text, key)
        except Exception as error:
            self._fails("cache", error)
            return None
        return entry

    def _under(self, key: str, memory: MemoryCache, tier: Tier | None) -> Entry | None:
        serving = DAY_ZERO if tier is None else tier.serving
        entry = memory.get(key, *serving)
        if entry is None and self._redis is not None:
            entry = self._redis.get(key, *serving)
            if entry is not None:
                memory.put(key, entry)
        return entry

    def keep(self, text: str, redacted: str, entry: Entry, tier: Tier | None) -> None:
        """Have `text`, and every other that becomes the same by redaction, be answered so; a person's word stays."""
        self._keep(text, normalise(redacted), entry, tier)

    def _keep(self, text: str, key: str, entry: Entry, tier: Tier | None) -> None:
        if self._memory is None:
            return
        try:
            if entry.source == "teacher":  # asked a while ago: a person may have spoken since, in another process too
                known = self._under(key, self._memory, tier)
                if known is not None and known.source == "human":
                    self._memory.link(text, key)
                    return
            self._memory.put(key, entry, text)
            if self._redis is not None:
                self._redis.put(key, entry)
        except Exception as error:
            self._fails("cache", error)

    def link(self, request: Request) -> None:
        """Have the text as it was typed find what is kept, or will be, under its redacted form."""
        if self._memory is not None and request.redacted is not None:
            self._memory.link(request.text, normalise(request.redacted))

    def correct(self, text: str, intent: str) -> None:
        """Put a person's word in the place of what is kept."""
        if self._memory is not None:
            self.keep(text, self._redact(text), Entry(intent, None, "human", None, time.time()), None)

    def _fails(self, what: str, error: Exception) -> None:
        self._note(f"{what} failed: {type(error).__name__}")
