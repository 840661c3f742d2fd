"""Answers shared by processes through Redis, behind the memory of this one."""

from __future__ import annotations

import collections
import json
from collections.abc import Callable, Collection

from inference.cache.link import NoReply, RedisLink, parse
from inference.cache.memory import DAY_S, Entry, MemoryCache, digest, normalise, positive, refuse_unfit
from inference.common.fork import ProcessLocal, notice, register
from inference.common.places import redis
from inference.common.reentrant import reentrant_lock
from inference.common.workers import Worker

LARGEST_VALUE = 16_384  # bytes in Redis
SLOW_S = 10.0


class RedisCache(ProcessLocal):
    """Answers shared by processes and machines. Safe between threads, and across a fork.

    `prefix` names what an answer depends on beside the text, such as the prompt's id. A key is the hash of what
    `prepare` makes of a text: redacted and normalised. An answer outside `labels` is taken for a foreign one. A call
    takes no longer than `timeout_ms` and never raises because of Redis; after one that did not work, or three slow ones
    in a row, Redis is skipped until it is back, which a thread finds out every `retry_after_s` seconds.
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
        self._ttl_ms = max(1, round(positive("ttl_s", ttl_s) * 1000))
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = reentrant_lock()
        timeout_s = positive("timeout_ms", timeout_ms) / 1000
        self._link = RedisLink(url, timeout_s, positive("retry_after_s", retry_after_s))
        register(self)

    def get(self, text: str, bundle_id: str | None, learned_until: float = 0.0) -> Entry | None:
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
        elif not entry.holds_for(bundle_id, learned_until):
            self._count("stale")
        else:
            self._count("hits")
            return entry
        return None

    def put(self, text: str, entry: Entry) -> None:
        """Keep an answer, if Redis takes it. Raises ValueError if it must not be given again."""
        refuse_unfit(entry)
        value = json.dumps(entry.to_dict())
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

    def check(self) -> tuple[str, bool]:
        """What is wrong with Redis, "" if nothing is; and whether it is the wrong server for good."""
        return self._link.check()

    @property
    def worker(self) -> Worker:
        """What opens connections in the background."""
        return self._link.worker

    def stats(self) -> dict[str, int]:
        """Counts of lookups: hits, misses, stale (of another bundle), wrong (not ours, or damaged).

        And of calls without effect: skipped (Redis was down, or no connection was free), slow, gone, full, cluster,
        replica, refused (any other error reply). `up` is 1 while Redis is in use.
        """
        notice()
        with self._lock:
            return {**self._counts, "up": int(self.up)}

    def close(self) -> None:
        """Let go of Redis: later calls find nothing and keep nothing."""
        self._link.close()

    def _key(self, text: str) -> str:
        return _key(self._prefix, self._prepare(text))

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1


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
        """Keep an answer in both. Raises ValueError if it must not be given again."""
        self.memory.put(text, entry)
        if self.redis is not None:
            self.redis.put(text, entry)


def forget_shared(url: str, texts: Collection[str]) -> int:
    """Delete from Redis what any process of Monoku keeps there of redacted `texts`; how many answers went.

    Redis holds hashes of texts, so those that differ in more than white space are not found; they expire. Raises
    NoReply if Redis does not answer, ValueError if the URL is invalid or the extra is missing.
    """
    errors = parse(url)[2]
    from redis import Redis

    wanted = {normalise(text) for text in texts}
    try:
        with Redis.from_url(redis(url).url, socket_timeout=SLOW_S, socket_connect_timeout=SLOW_S) as server:
            found = [key.decode(errors="replace") for key in server.scan_iter("monoku:*", count=1000)]
            keys = [key for key in found if any(key == _key(key.rpartition(":")[0], text) for text in wanted)]
            return sum(int(server.delete(key)) for key in keys)
    except errors.RedisError as error:
        raise NoReply(f"the cache in Redis did not answer ({type(error).__name__}); run again") from None


def _key(prefix: str, text: str) -> str:
    return f"{prefix}:{digest(json.dumps([prefix, text])).hex()}"


def _read(value: object, labels: Collection[str] | None) -> Entry | None:
    """The entry that a value of Redis holds; None for a value that we would not have written."""
    try:
        found = json.loads(value)  # type: ignore[arg-type]
        # The version before wrote two fields more: alternatives, which nobody read, and accepted, which was True.
        found.pop("alternatives", None)
        accepted = found.pop("accepted", True)
        entry = Entry(**found)
        refuse_unfit(entry)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    own = entry.source in ("rules", "exit", "student")  # only these have a confidence
    share = entry.confidence if own or entry.confidence is not None else 0.0
    good = (
        isinstance(entry.intent, str)
        and (labels is None or entry.intent in labels)
        and type(share) in (int, float)
        and 0 <= share <= 1  # type: ignore[operator]
        and isinstance(entry.bundle_id, (str, type(None)))
        and type(entry.at) in (int, float)
        and accepted is True
    )
    return entry if good else None
