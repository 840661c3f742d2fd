from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.cache import LONGEST_KEY, Cache, Entry, MemoryCache, RedisCache, normalise
from tests.services import Service, redis_server

LOCAL = Entry("payments", 0.97, "student", "bundle-1", True, (("account", 0.02), ("unknown", 0.01)))
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


# The normal form

WHITE = " \t\n\r\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u205f\u3000"
ODD = [
    "\x0b",
    "\x0c",
    "\x1c",
    "\x85",
    "\x00",
    "\u200b",
    "\u0301",
    "[CLS]",
    "[cls]",
    "[MASK]",
    "Σ",
    "ς",
    "İ",
    "ß",
    "ẞ",
    "K",
]
PIECES = st.sampled_from([*WHITE, *ODD, "refund", "Refund", "REFUND", "ΟΔΟΣ", "é", "退款", "don't"])
TEXTS = st.lists(PIECES | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny_base / "tokenizer.json"))


@settings(max_examples=500, deadline=None)
@given(
    text=TEXTS, other=TEXTS, white=st.text(WHITE, min_size=1, max_size=3), change=st.sampled_from(["upper", "lower"])
)
def test_texts_of_one_normal_form_have_the_same_tokens(
    tokenizer: Tokenizer, text: str, other: str, white: str, change: str
) -> None:
    pairs = [(text, normalise(text)), (text, white + text.replace(" ", white)), (text, other)]
    pairs += [(text, getattr(text, change)()), (text, normalise(text, lower=True))]
    for one, another in pairs:
        for lower in (False, True):
            if normalise(one, lower) == normalise(another, lower):
                assert tokenizer.encode(one).ids == tokenizer.encode(another).ids
    assert normalise(white + text.replace(" ", white)) == normalise(text)


@given(TEXTS, st.booleans())
def test_a_normal_form_is_its_own(text: str, lower: bool) -> None:
    assert normalise(normalise(text, lower), lower) == normalise(text, lower)


def test_case_counts_unless_the_tokenizer_drops_it() -> None:
    assert normalise("  Where is\n\nmy REFUND ") == "Where is my REFUND"
    assert normalise("  Where is\n\nmy REFUND ", lower=True) == "where is my refund"


# Memory


def test_memory_gives_back_what_was_put_for_the_same_raw_text() -> None:
    cache = MemoryCache()
    cache.put("refund", LOCAL)
    assert cache.get("refund", "bundle-1") == LOCAL
    assert cache.get("refund ", "bundle-1") is None


def test_a_local_answer_ends_with_its_bundle_and_a_teachers_does_not() -> None:
    cache = MemoryCache()
    cache.put("a", LOCAL)
    cache.put("b", TEACHERS)
    cache.put("c", replace(LOCAL, source="rules"))
    assert [cache.get(text, "bundle-2") for text in "abc"] == [None, TEACHERS, None]
    assert [cache.get(text, None) for text in "abc"] == [None, TEACHERS, None]


@pytest.mark.parametrize("source", ["fallback", "", "cache"])
def test_a_fallback_is_refused(redis: RedisCache, source: str) -> None:
    entry = replace(LOCAL, source=source)
    for cache in (MemoryCache(), redis, Cache(MemoryCache(), redis)):
        with pytest.raises(ValueError, match=f"'{source}' must not be cached"):
            cache.put("refund", entry)
        assert cache.get("refund", "bundle-1") is None


def test_an_answer_that_was_not_accepted_is_refused(redis: RedisCache) -> None:
    for cache in (MemoryCache(), redis):
        with pytest.raises(ValueError, match="not accepted"):
            cache.put("refund", replace(LOCAL, accepted=False))


def test_an_entry_lives_as_long_as_it_was_said_to() -> None:
    clock = [100.0]
    cache = MemoryCache(ttl_s=10, now=lambda: clock[0])
    cache.put("a", LOCAL)
    clock[0] = 109.9
    assert cache.get("a", "bundle-1") == LOCAL
    clock[0] = 110.0
    assert cache.get("a", "bundle-1") is None
    assert len(cache) == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_the_least_recently_used_goes_first(steps: list[tuple[bool, int]]) -> None:
    cache, order = MemoryCache(size=3), []
    for writes, number in steps:
        if writes:
            cache.put(str(number), replace(TEACHERS, intent=f"intent-{number}"))
        found = cache.get(str(number), None)
        assert (found.intent if found else None) == (f"intent-{number}" if writes or number in order else None)
        if found:
            order = [*[kept for kept in order if kept != number][-2:], number]
        assert len(cache) == len(order)


def test_a_long_text_is_found_but_not_kept_whole() -> None:
    cache, text = MemoryCache(), "refund \ud83d" * LONGEST_KEY
    cache.put(text, LOCAL)
    assert cache.get(text, "bundle-1") == LOCAL
    assert cache.get(text + "!", "bundle-1") is None
    assert max(len(key) for key in cache._kept) < LONGEST_KEY


@pytest.mark.parametrize(
    "arguments", [{"size": 0}, {"size": 1.5}, {"size": True}, {"ttl_s": 0}, {"ttl_s": float("inf")}]
)
def test_a_size_or_a_life_that_is_none_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        MemoryCache(**arguments)  # type: ignore[arg-type]


def test_threads_share_a_memory_cache() -> None:
    cache = MemoryCache(size=50)
    wrong: list[Entry] = []

    def work(start: int) -> None:
        for step in range(3000):
            text = str((start + step * 7) % 100)
            cache.put(text, replace(TEACHERS, intent=text))
            found = cache.get(text, None)
            if found is not None and found.intent != text:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(cache) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_not_held_up_by_a_lock_of_its_parent(redis: RedisCache) -> None:
    memory = MemoryCache()
    memory.put("refund", LOCAL)
    with memory._lock, redis._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if memory.get("refund", "bundle-1") == LOCAL and redis.stats() else 1)
    assert os.waitpid(child, 0)[1] == 0


# Redis


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


GOOD = {"intent": "a", "confidence": 0.5, "source": "rules", "bundle_id": "b", "accepted": True, "alternatives": []}


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
        json.dumps({**GOOD, "bundle_id": 3}),
        json.dumps({**GOOD, "accepted": False}),
        json.dumps({**GOOD, "accepted": 1}),
        json.dumps({**GOOD, "alternatives": [["z", 0.1]]}),
        json.dumps({**GOOD, "alternatives": [["a", "b", "c"]]}),
        json.dumps({**GOOD, "alternatives": None}),
        json.dumps({**GOOD, "colour": "red"}),
        json.dumps({**GOOD, "alternatives": [["a", 0.1]] * 100_000}),
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


def test_a_key_of_another_type_is_ignored_and_counted(redis: RedisCache) -> None:
    redis._link.ask("RPUSH", redis._key("text"), "1")
    assert redis.get("text", None) is None
    assert redis.stats() == {"wrong": 1, "up": 1}


@settings(deadline=None)
@given(
    st.text(), st.floats(0, 1), st.sampled_from(["rules", "student", "teacher"]), st.text(),
    st.lists(st.tuples(st.text(max_size=9), st.floats(0, 1)), max_size=3),
)  # fmt: skip
def test_what_goes_into_redis_comes_out_equal(
    shared: RedisCache, text: str, confidence: float, source: str, name: str, ranked: list[tuple[str, float]]
) -> None:
    entry = Entry(name, confidence, source, name, True, tuple(ranked))
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


# Both


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


def test_memory_alone_is_a_cache_too() -> None:
    cache = Cache(MemoryCache())
    cache.put("refund", LOCAL)
    assert cache.get("refund", "bundle-1") == LOCAL
    assert cache.get("hello", "bundle-1") is None
