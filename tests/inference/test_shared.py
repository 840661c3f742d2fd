from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.cache.memory import Entry, MemoryCache
from inference.cache.shared import Cache, RedisCache
from tests.services import Service, redis_server

LOCAL = Entry("payments", 0.97, "student", "bundle-1")
TEACHERS = Entry("account", None, "teacher", None)
PATIENT_MS = 5000


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with redis_server() as service:
        yield service


@pytest.fixture
def redis(server: Service, request: pytest.FixtureRequest) -> Iterator[RedisCache]:
    cache = connected(server.url, request.node.name)
    yield cache
    cache.close()


@pytest.fixture(scope="module")
def shared(server: Service) -> Iterator[RedisCache]:
    cache = connected(server.url, "shared")
    yield cache
    cache.close()


def connected(url: str, prefix: str, **more: object) -> RedisCache:
    cache = RedisCache(url, prefix, **{"timeout_ms": PATIENT_MS, "retry_after_s": 0.05, **more})  # type: ignore[arg-type]
    until(lambda: cache.up)
    return cache


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_fallback_is_refused(redis: RedisCache) -> None:
    for cache in (redis, Cache(MemoryCache(), redis)):
        with pytest.raises(ValueError, match="must not be cached"):
            cache.put("refund", replace(LOCAL, source="fallback"))
        assert cache.get("refund", "bundle-1") is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_not_held_up_by_a_lock_of_its_parent(redis: RedisCache) -> None:
    with redis._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if redis.stats() else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_two_clients_share_what_either_knows(server: Service) -> None:
    one, other, stranger = (connected(server.url, prefix) for prefix in ("prompt", "prompt", "another"))
    one.put("Where is  my refund", LOCAL)
    other.put("hello", TEACHERS)
    assert other.get(" Where is my refund\n", "bundle-1") == LOCAL
    assert one.get("hello", None) == TEACHERS
    assert stranger.get("hello", None) is None
    assert one.stats() == {"hits": 1, "up": 1}
    assert stranger.stats() == {"misses": 1, "up": 1}
    for cache in (one, other, stranger):
        cache.close()
    assert one.stats()["up"] == 0


def test_redis_refuses_what_is_stale(redis: RedisCache) -> None:
    redis.put("a", LOCAL)
    redis.put("b", TEACHERS)
    assert redis.get("a", "bundle-2") is None
    assert redis.get("b", "bundle-2") == TEACHERS
    assert redis.stats()["stale"] == 1


def test_neither_text_nor_its_hash_before_redaction_is_in_redis(server: Service) -> None:
    cache = connected(server.url, "private", prepare=lambda text: text.replace("4111 1111 1111 1111", "[card]"))
    cache.put("my card is 4111 1111 1111 1111", TEACHERS)
    assert cache.get("my card is [card]", None) == TEACHERS
    keys = [key for key in cache._link.ask("KEYS", "*") if key.startswith(b"private")]
    assert len(keys) == 1
    assert b"card" not in keys[0] + cache._link.ask("GET", keys[0].decode())
    cache.close()


def test_an_entry_in_redis_has_an_end(server: Service) -> None:
    cache = connected(server.url, "ttl", ttl_s=0.05)
    cache.put("a", TEACHERS)
    until(lambda: cache.get("a", None) is None)
    cache.close()


GOOD = {"intent": "a", "confidence": 0.5, "source": "rules", "bundle_id": "b"}


@pytest.mark.parametrize(
    "value",
    [
        "garbage",
        "\xff\x00",
        "[" * 10_000,
        "[]",
        "null",
        "1",
        json.dumps(GOOD) * 2,
        json.dumps(GOOD)[:-3],
        json.dumps({**GOOD, "intent": "no such intent"}),
        json.dumps({**GOOD, "intent": ["a"]}),
        json.dumps({**GOOD, "intent": None}),
        json.dumps({**GOOD, "source": "fallback"}),
        json.dumps({**GOOD, "source": {}}),
        json.dumps({**GOOD, "confidence": 1.5}),
        json.dumps({**GOOD, "confidence": float("nan")}),
        json.dumps({**GOOD, "confidence": "high"}),
        json.dumps({**GOOD, "confidence": True}),
        json.dumps({**GOOD, "confidence": None}),
        json.dumps({**GOOD, "bundle_id": 3}),
        json.dumps({**GOOD, "accepted": False}),
        json.dumps({**GOOD, "accepted": 1}),
        json.dumps({**GOOD, "colour": "red"}),
        json.dumps({**GOOD, "alternatives": ["a"] * 100_000}),
    ],
)
def test_a_wrong_value_is_ignored_and_counted_and_can_be_replaced(server: Service, value: str) -> None:
    cache = connected(server.url, "wrong", labels={"a"})
    cache._link.ask("SET", cache._key("text"), json.dumps(GOOD))
    assert cache.get("text", "b") == Entry("a", 0.5, "rules", "b")
    cache._link.ask("SET", cache._key("text"), value)
    assert cache.get("text", "b") is None
    assert cache.stats() == {"hits": 1, "wrong": 1, "up": 1}
    cache.put("text", Entry("a", None, "teacher", None))
    assert cache.get("text", "b") is not None
    cache.close()


def test_what_the_version_before_wrote_is_still_read(redis: RedisCache) -> None:
    redis._link.ask("SET", redis._key("text"), json.dumps({**GOOD, "accepted": True, "alternatives": [["z", 0.1]]}))
    assert redis.get("text", "b") == Entry("a", 0.5, "rules", "b")


def test_a_key_of_another_type_is_ignored_and_counted(redis: RedisCache) -> None:
    redis._link.ask("RPUSH", redis._key("text"), "1")
    assert redis.get("text", None) is None
    assert redis.stats() == {"wrong": 1, "up": 1}


@settings(deadline=None)
@given(st.text(), st.floats(0, 1), st.sampled_from(["rules", "student", "teacher"]), st.text())
def test_what_goes_into_redis_comes_out_equal(
    shared: RedisCache, text: str, confidence: float, source: str, name: str
) -> None:
    entry = Entry(name, confidence, source, name)
    shared.put(text, entry)
    assert shared.get(text, name) == entry


def test_an_entry_too_large_for_redis_is_not_kept(redis: RedisCache) -> None:
    redis.put("text", replace(TEACHERS, intent="x" * 20_000))
    assert redis.get("text", None) is None
    assert redis.stats() == {"misses": 1, "up": 1}


def test_a_full_redis_is_counted_and_reads_go_on() -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as service:
        cache = connected(service.url, "full")
        cache.put("text", TEACHERS)
        assert cache.get("text", None) is None
        assert cache.stats() == {"full": 1, "misses": 1, "up": 1}
        cache.close()


def test_a_frozen_redis_is_slow_once_and_then_skipped() -> None:
    with redis_server() as service:
        cache = connected(service.url, "frozen", timeout_ms=200)
        cache.put("text", TEACHERS)
        with service.frozen():
            assert [cache.get("text", None) for _ in range(50)] == [None] * 50
            cache.put("text", TEACHERS)
            assert cache.stats() == {"slow": 1, "skipped": 50, "up": 0}
        until(lambda: cache.up)
        assert cache.get("text", None) == TEACHERS
        cache.close()


def test_what_redis_knew_memory_knows_from_then_on(server: Service) -> None:
    first, second = (Cache(MemoryCache(), connected(server.url, "chain")) for _ in range(2))
    first.put("refund", LOCAL)
    assert second.get("refund", "bundle-2") is None
    assert len(second.memory) == 0
    assert second.get("refund", "bundle-1") == LOCAL
    assert second.memory.get("refund", "bundle-1") == LOCAL
    for cache in (first, second):
        assert cache.redis is not None
        cache.redis.close()
    assert second.get("refund", "bundle-1") == LOCAL


def test_memory_serves_while_redis_is_gone_and_back() -> None:
    with redis_server() as service:
        cache = Cache(MemoryCache(), connected(service.url, "gone"))
        assert cache.redis is not None
        cache.put("before", TEACHERS)
        service.stop(signal.SIGKILL)
        cache.put("during", TEACHERS)
        assert [cache.get(text, None) for text in ("before", "during", "never")] == [TEACHERS, TEACHERS, None]
        assert cache.redis.stats() == {"gone": 1, "skipped": 1, "up": 0}
        service.start()
        until(lambda: cache.redis is not None and cache.redis.up)
        cache.put("after", TEACHERS)
        assert cache.redis.get("after", None) == TEACHERS
        cache.redis.close()
