"""Answers kept: in this process under the redacted, normalised text, in Redis under a hash of it.

A text as it was typed is a link to that one key, so that an answer is found under every form of a text and replaced
under all of them at once. What the local tier answered is valid for the bundle that answered; a teacher's answer
outlives it; a person's correction is valid until a bundle serves that was trained on it, and nothing else displaces it.
A fallback is never kept.
"""

from __future__ import annotations

import collections
import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

from inference.common.fork import ProcessLocal, notice, register
from inference.common.reentrant import reentrant_lock
from inference.common.text import Forgotten

SOURCES = ("rules", "exit", "student", "teacher", "human")
DAY_S = 86_400.0
Key = str | bytes
# A longer text is kept under its hash, so that the size of the memory cache bounds its bytes too.
LONGEST_KEY = 512
# What BERT's tokenizer takes for white space. It drops the control characters at which str.split would split.
_WHITE = re.compile("[\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that may be given again.

    `bundle_id` names what a local answer depends on; `confidence` and `bundle_id` are None from a teacher or a person.
    `at` is when a person said so, in seconds since 1970. An entry is read as what is said of a query (a Guess), so that
    a cache hit makes nothing new.
    """

    accepted: ClassVar[bool] = True
    cached: ClassVar[bool] = True
    intent: str
    confidence: float | None
    source: str
    bundle_id: str | None
    at: float = 0.0

    def holds_for(self, bundle_id: str | None, learned_until: float = 0.0) -> bool:
        """Whether this may answer while `bundle_id` serves, which learned from corrections before `learned_until`."""
        if self.source == "human":
            return self.at >= learned_until
        return self.source == "teacher" or self.bundle_id == bundle_id

    def to_dict(self) -> dict[str, object]:
        """The fields as they are stored: `at` where there is one, which older versions do not know."""
        values = asdict(self)
        return values if self.at else {name: values[name] for name in values if name != "at"}


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
        # An answer and the end of its time, or the key under which the answer lies.
        self._kept: collections.OrderedDict[Key, tuple[Entry, float] | Key] = collections.OrderedDict()
        self._lock = reentrant_lock()
        register(self)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, text: str, bundle_id: str | None, learned_until: float = 0.0) -> Entry | None:
        """What is known of `text` while `bundle_id` serves; None where nothing is, or only what is stale."""
        key: Key = text if len(text) <= LONGEST_KEY else digest(text)
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            try:
                self._kept.move_to_end(key)
                if not isinstance(found, tuple):
                    key, found = found, self._kept.get(found)
                    if not isinstance(found, tuple):  # its time is over, or there was no room for it
                        return None
                    self._kept.move_to_end(key)
            except KeyError:  # dropped meanwhile by a signal handler of this thread
                return None
            entry, until = found
            if until <= self._now() or not entry.holds_for(bundle_id, learned_until):
                self._kept.pop(key, None)
                return None
            return entry

    def put(self, text: str, entry: Entry, link: str | None = None) -> None:
        """Keep an answer under `text`, and have `link` find it; not in the place of a person's.

        Raises ValueError if it must not be given again.
        """
        refuse_unfit(entry)
        key = _key(text)
        with self._lock:
            if link is not None:
                self.link(link, text)
            now, known = self._now(), self._kept.get(key)
            by_person = isinstance(known, tuple) and known[0].source == "human" and known[1] > now
            if entry.source == "human" or not by_person:
                self._set(key, (entry, now + self.ttl_s))

    def link(self, text: str, key: str) -> None:
        """Have `text` find, from now on, what is kept under `key`, now or later."""
        if text != key:
            with self._lock:
                self._set(_key(text), _key(key))

    def _set(self, key: Key, value: tuple[Entry, float] | Key) -> None:
        self._kept.pop(key, None)
        self._kept[key] = value  # at the end
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)

    def forget(self, forgotten: Forgotten) -> int:
        """Let go of a text's answers and links; how many there were. Of long ones, those of exactly the forms given."""
        notice()
        with self._lock:
            known = list(self._kept.items())
        long = {digest(form) for text in forgotten.texts for form in (text, normalise(text))}
        gone = {key for key, _ in known if (forgotten.as_typed(key) if isinstance(key, str) else key in long)}
        gone |= {key for key, value in known if not isinstance(value, tuple) and value in gone}
        with self._lock:
            return sum(self._kept.pop(key, None) is not None for key in gone)


def refuse_unfit(entry: Entry) -> None:
    """Raise ValueError for an answer that must not be given again."""
    if entry.source not in SOURCES:
        raise ValueError(f"an answer of {entry.source!r} must not be cached; only {', '.join(SOURCES)} may be")


def _key(text: str) -> Key:
    return text if len(text) <= LONGEST_KEY else digest(text)


def digest(text: str) -> bytes:
    """A short hash of a text, lone surrogates included."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()


def positive(name: str, value: float) -> float:
    """`value`. Raises ValueError if it is not positive and finite."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be positive, got {value!r}")
    return value
