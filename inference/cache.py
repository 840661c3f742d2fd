"""Answers kept: in this process by the raw text, in Redis by a hash of the redacted, normalised text.

What the local tier answered is valid for the bundle that answered; a teacher's answer outlives it. A fallback is never
kept.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

from inference.redis_link import NoReply, RedisLink

SOURCES = ("rules", "student", "teacher")
DAY_S = 86_400.0
# A longer text is kept under its hash, so that the size of the memory cache bounds its bytes too.
LONGEST_KEY = 512
LARGEST_VALUE = 16_384  # bytes in Redis

# What BERT's tokenizer takes for white space. It drops the control characters at which str.split would split.
_WHITE = re.compile("[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
# It looks for these in the text as it was typed, so their case counts even where it lower-cases the rest.
_SPECIAL = re.compile(r"\[(?:CLS|SEP|PAD|UNK|MASK)\]")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that may be given again.

    `bundle_id` names what a local answer depends on; `confidence` and `bundle_id` may be None from a teacher.
    """

    intent: str
    confidence: float | None
    source: str
    bundle_id: str | None
    accepted: bool = True
    alternatives: tuple[tuple[str, float], ...] = ()

    def holds_for(self, bundle_id: str | None) -> bool:
        """Whether this may answer while `bundle_id` serves."""
        return self.source == "teacher" or self.bundle_id == bundle_id


def normalise(text: str, lower: bool = False) -> str:
    """`text` without what a BERT tokenizer does not see: runs of white space and, with `lower`, case.

    Texts of one normal form have the same tokens.
    """
    text = _WHITE.sub(" ", text).strip(" ")
    if not lower or _SPECIAL.search(text):
        return text
    # Letter by letter, as the tokenizer does it: str.lower gives a Σ at the end of a word another small letter.
    return text.lower() if text.isascii() else "".join([letter.lower() for letter in text])


class MemoryCache:
    """The answers last used in this process: `size` of them at most, each for `ttl_s` seconds. Safe between threads.

    One lock is enough: it is held for a few steps on a dict, never over a wait, and no other lock is taken under it.
    """

    def __init__(self, size: int = 50_000, ttl_s: float = DAY_S, now: Callable[[], float] = time.monotonic) -> None:
        if type(size) is not int or size < 1:
            raise ValueError(f"a cache's size must be a whole number of at least 1, got {size!r}")
        self.size, self.ttl_s = size, _positive("ttl_s", ttl_s)
        self._now = now
        self._kept: collections.OrderedDict[str | bytes, tuple[Entry, float]] = collections.OrderedDict()
        self._lock = threading.Lock()
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, bundle_id: str | None) -> Entry | None:
        """What is known of `text` while `bundle_id` serves; None where nothing is, or only what is stale."""
        key = text if len(text) <= LONGEST_KEY else _digest(text)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            entry, until = found
            if until <= self._now() or not entry.holds_for(bundle_id):
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return entry

    def put(self, text: str, entry: Entry) -> None:
        """Keep an answer. Raises ValueError for one that must not be given again."""
        _refuse(entry)
        key = text if len(text) <= LONGEST_KEY else _digest(text)
        with self._lock:
            self._kept[key] = entry, self._now() + self.ttl_s
            self._kept.move_to_end(key)
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


class RedisCache:
    """Answers shared by processes and machines. Safe between threads, and across a fork.

    `prefix` names what an answer depends on beside the text, such as the prompt's id. A key is the hash of what
    `prepare` makes of a text: redacted and normalised. An answer outside `labels` is taken for a foreign one. A call
    takes no longer than `timeout_ms` and never raises because of Redis; after one that did not work Redis is skipped
    until it is back, which a thread finds out every `retry_after_s` seconds.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        ttl_s: float = 7 * DAY_S,
        timeout_ms: float = 5.0,
        retry_after_s: float = 1.0,
        labels: Collection[str] | None = None,
        prepare: Callable[[str], str] = normalise,
    ) -> None:
        self._prefix, self._labels, self._prepare = prefix, labels, prepare
        self._ttl_ms = max(1, round(_positive("ttl_s", ttl_s) * 1000))
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        timeout_s = _positive("timeout_ms", timeout_ms) / 1000
        self._link = RedisLink(url, timeout_s, _positive("retry_after_s", retry_after_s))
        _caches.add(self)

    def get(self, text: str, bundle_id: str | None) -> Entry | None:
        """What is known of `text` while `bundle_id` serves; None where nothing is, or Redis does not say."""
        try:
            # The beginning alone, so that whatever may lie there is soon read.
            reply = self._link.ask("GETRANGE", self._key(text), 0, LARGEST_VALUE)
        except NoReply as error:
            self._count(error.reason)
            return None
        entry = _read(reply, self._labels)
        if reply == b"":
            self._count("misses")
        elif entry is None:
            self._count("wrong")
        elif not entry.holds_for(bundle_id):
            self._count("stale")
        else:
            self._count("hits")
            return entry
        return None

    def put(self, text: str, entry: Entry) -> None:
        """Keep an answer, if Redis takes it. Raises ValueError for one that must not be given again."""
        _refuse(entry)
        value = json.dumps(asdict(entry))
        if len(value) > LARGEST_VALUE:
            return
        try:
            self._link.ask("SET", self._key(text), value, "PX", self._ttl_ms)
        except NoReply as error:
            self._count(error.reason)

    @property
    def up(self) -> bool:
        """Whether a call would reach Redis."""
        return self._link.up

    def stats(self) -> dict[str, int]:
        """Counts of lookups: hits, misses, stale (of another bundle), wrong (not ours, or damaged).

        And of calls without effect: skipped (Redis was down, or no connection was free), slow, gone, full, refused (any
        other error reply). `up` is 1 while Redis is in use.
        """
        with self._lock:
            return {**self._counts, "up": int(self.up)}

    def close(self) -> None:
        """Let go of Redis: later calls find nothing and keep nothing."""
        self._link.close()

    def _key(self, text: str) -> str:
        return f"{self._prefix}:{_digest(json.dumps([self._prefix, self._prepare(text)])).hex()}"

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


class Cache:
    """The memory of this process and, where there is one, the Redis behind it."""

    def __init__(self, memory: MemoryCache, redis: RedisCache | None = None) -> None:
        self.memory, self.redis = memory, redis

    def get(self, text: str, bundle_id: str | None) -> Entry | None:
        """What is known of `text` while `bundle_id` serves. What Redis knew, memory knows from then on."""
        entry = self.memory.get(text, bundle_id)
        if entry is None and self.redis is not None:
            entry = self.redis.get(text, bundle_id)
            if entry is not None:
                self.memory.put(text, entry)
        return entry

    def put(self, text: str, entry: Entry) -> None:
        """Keep an answer in both. Raises ValueError for one that must not be given again."""
        self.memory.put(text, entry)
        if self.redis is not None:
            self.redis.put(text, entry)


def _refuse(entry: Entry) -> None:
    if entry.source not in SOURCES:
        raise ValueError(f"an answer of {entry.source!r} must not be cached; only {', '.join(SOURCES)} may be")
    if not entry.accepted:
        raise ValueError(f"an answer of {entry.source!r} that was not accepted must not be cached")


def _read(value: object, labels: Collection[str] | None) -> Entry | None:
    """The entry that a value of Redis holds; None for a value that we would not have written."""
    try:
        found = json.loads(value)  # type: ignore[arg-type]
        alternatives = tuple([(name, share) for name, share in found.pop("alternatives")])
        entry = Entry(**found, alternatives=alternatives)
        _refuse(entry)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    names = (entry.intent, *(name for name, _ in alternatives))
    shares = (0.0 if entry.confidence is None else entry.confidence, *(share for _, share in alternatives))
    good = (
        all(isinstance(name, str) and (labels is None or name in labels) for name in names)
        and all(isinstance(share, (int, float)) and 0 <= share <= 1 for share in shares)
        and isinstance(entry.bundle_id, (str, type(None)))
        and entry.accepted is True
    )
    return entry if good else None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive, got {value!r}")
    return value


_caches: weakref.WeakSet[MemoryCache | RedisCache] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache._after_fork()


# A child process inherits the state of locks that another thread held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
