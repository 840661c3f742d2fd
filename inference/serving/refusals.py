"""What teachers refused to answer, remembered for a while: asked again so soon, they would be paid to refuse again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from inference.cache.memory import digest, normalise
from inference.common.fork import ProcessLocal, register
from inference.common.reentrant import reentrant_lock

MOST = 10_000


class Refusals(ProcessLocal):
    """The refusals of the last `ttl_s` seconds, at most `most`; none are remembered where `ttl_s` is 0.

    A text is known by its hash alone. Safe between threads.
    """

    def __init__(self, ttl_s: float, most: int = MOST, now: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s, self._most, self._now = ttl_s, most, now
        self._kept: OrderedDict[tuple[int, bytes], tuple[float, str]] = OrderedDict()
        self._lock = reentrant_lock()
        register(self)

    def add(self, teacher: int, text: str, reason: str) -> None:
        """Remember that this teacher, by its number, refused a redacted text."""
        if self._ttl_s > 0:
            with self._lock:
                self._kept[teacher, digest(normalise(text))] = self._now() + self._ttl_s, reason
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)

    def of(self, teacher: int, text: str) -> str | None:
        """The reason that this teacher gave, if it refused this text lately."""
        found = self._kept.get((teacher, digest(normalise(text)))) if self._kept else None
        return found[1] if found is not None and found[0] > self._now() else None

    def forget(self, texts: Iterable[str]) -> int:
        """Let go of the refusals of redacted texts; how many there were."""
        gone = {digest(normalise(text)) for text in texts}
        with self._lock:
            keys = [key for key in self._kept if key[1] in gone]
            return sum(self._kept.pop(key, None) is not None for key in keys)
