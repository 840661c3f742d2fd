"""Answers kept: in this process by the raw text, in Redis by a hash of the redacted, normalised text.

What the local tier answered is valid for the bundle that answered; a teacher's answer outlives it. A fallback is never
kept.
"""

from __future__ import annotations

import collections
import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from inference.common.fork import ProcessLocal, notice, register
from inference.common.text import Forgotten

SOURCES = ("rules", "student", "teacher")
DAY_S = 86_400.0
# A longer text is kept under its hash, so that the size of the memory cache bounds its bytes too.
LONGEST_KEY = 512
# What BERT's tokenizer takes for white space. It drops the control characters at which str.split would split.
_WHITE = re.compile("[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that may be given again.

    `bundle_id` names what a local answer depends on; `confidence` and `bundle_id` may be None from a teacher.
    """

    intent: str
    confidence: float | None
    source: str
    bundle_id: str | None

    def holds_for(self, bundle_id: str | None) -> bool:
        """Whether this may answer while `bundle_id` serves."""
        return self.source == "teacher" or self.bundle_id == bundle_id


def normalise(text: str) -> str:
    """`text` without what a BERT tokenizer does not see, runs of white space: of one normal form, the same tokens."""
    return _WHITE.sub(" ", text).strip(" ")


class MemoryCache(ProcessLocal):
    """The answers last used in this process: `size` of them at most, each for `ttl_s` seconds. Safe between threads.

    One lock is enough: it is held for a few steps on a dict, never over a wait, and no other lock is taken under it.
    """

    def __init__(self, size: int = 50_000, ttl_s: float = DAY_S, now: Callable[[], float] = time.monotonic) -> None:
        if type(size) is not int or size < 1:
            raise ValueError(f"a cache's size must be a whole number of at least 1, got {size!r}")
        self.size, self.ttl_s = size, positive("ttl_s", ttl_s)
        self._now = now
        self._kept: collections.OrderedDict[str | bytes, tuple[Entry, float]] = collections.OrderedDict()
        self._lock = threading.Lock()
        register(self)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, bundle_id: str | None) -> Entry | None:
        """What is known of `text` while `bundle_id` serves; None where nothing is, or only what is stale."""
        notice()
        key = text if len(text) <= LONGEST_KEY else digest(text)
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
        """Keep an answer. Raises ValueError if it must not be given again."""
        refuse_unfit(entry)
        notice()
        key = text if len(text) <= LONGEST_KEY else digest(text)
        with self._lock:
            self._kept[key] = entry, self._now() + self.ttl_s
            self._kept.move_to_end(key)
            if len(self._kept) > self.size:
                self._kept.popitem(last=False)

    def forget(self, forgotten: Forgotten) -> int:
        """Let go of the answers to a text; how many there were. Of long ones, those to exactly the forms given."""
        notice()
        with self._lock:
            known = list(self._kept)
        long = set(map(digest, forgotten.texts))
        gone = [key for key in known if (forgotten.as_typed(key) if isinstance(key, str) else key in long)]
        with self._lock:
            return sum(self._kept.pop(key, None) is not None for key in gone)


def refuse_unfit(entry: Entry) -> None:
    """Raise ValueError for an answer that must not be given again."""
    if entry.source not in SOURCES:
        raise ValueError(f"an answer of {entry.source!r} must not be cached; only {', '.join(SOURCES)} may be")


def digest(text: str) -> bytes:
    """A short hash of a text, lone surrogates included."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def positive(name: str, value: float) -> float:
    """`value`. Raises ValueError if it is not positive and finite."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive, got {value!r}")
    return value
