from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.cache.memory import LONGEST_KEY, Entry, MemoryCache, normalise
from inference.cache.shared import Cache

LOCAL = Entry("payments", 0.97, "student", "bundle-1")
TEACHERS = Entry("account", None, "teacher", None)


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
@given(text=TEXTS, white=st.text(WHITE, min_size=1, max_size=3))
def test_texts_of_one_normal_form_have_the_same_tokens(tokenizer: Tokenizer, text: str, white: str) -> None:
    spread = white + text.replace(" ", white)
    assert normalise(spread) == normalise(text)
    for other in (normalise(text), spread):
        assert tokenizer.encode(other).ids == tokenizer.encode(text).ids


@given(TEXTS)
def test_a_normal_form_is_its_own(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_white_space_does_not_count_and_case_does() -> None:
    assert normalise("  Where is\n\nmy REFUND ") == "Where is my REFUND"


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


def test_a_link_leads_to_what_is_kept_now_or_later() -> None:
    cache = MemoryCache()
    cache.link("to jane@example.com", "to [email]")
    assert cache.get("to jane@example.com", "bundle-1") is None
    for entry in (LOCAL, TEACHERS):
        cache.put("to [email]", entry)
        assert cache.get("to jane@example.com", "bundle-1") == entry


def test_a_persons_word_is_displaced_by_another_alone_or_by_a_bundle_that_learned_it() -> None:
    cache, human = MemoryCache(), Entry("account", None, "human", None, at=100.0)
    for entry in (LOCAL, human, LOCAL, TEACHERS):
        cache.put("refund", entry)
    assert cache.get("refund", "bundle-2", 100.0) == human
    assert cache.get("refund", "bundle-2", 100.5) is None
    cache.put("refund", TEACHERS)
    assert cache.get("refund", "bundle-2", 100.5) == TEACHERS


@pytest.mark.parametrize("source", ["fallback", "", "cache"])
def test_a_fallback_is_refused(source: str) -> None:
    for cache in (MemoryCache(), Cache(MemoryCache())):
        with pytest.raises(ValueError, match=f"'{source}' must not be cached"):
            cache.put("refund", replace(LOCAL, source=source))
        assert cache.get("refund", "bundle-1") is None


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
def test_a_forked_child_is_not_held_up_by_a_lock_of_its_parent() -> None:
    memory = MemoryCache()
    memory.put("refund", LOCAL)
    with memory._lock:
        child = os.fork()
        if child == 0:
            os._exit(0 if memory.get("refund", "bundle-1") == LOCAL else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_memory_alone_is_a_cache_too() -> None:
    cache = Cache(MemoryCache())
    cache.put("refund", LOCAL)
    assert cache.get("refund", "bundle-1") == LOCAL
    assert cache.get("hello", "bundle-1") is None
