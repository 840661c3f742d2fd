import math
import threading
from collections import Counter
from concurrent.futures import Future

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log import counts
from inference.log.counts import Tally, confidence_bin, latency_bin, latency_edge
from inference.log.decision_log import Count, Decision
from inference.log.queue import VALUES, Entry, Queue
from tests.logged import answer, correction, decision

REQUEST = ("student", "payments", False, False, True, ("payments", 0.93), False, 1.1, 0)


def entry(value: str, name: str) -> Entry:
    rows = {
        "local": decision(name),
        "sampled": decision(name, sampled=True),
        "deferred": decision(name, deferred=True, sampled=True),
        "correction": correction(name),
        "answer": answer(name),
    }
    return Entry(rows[value])


def name_of(waiting: Entry) -> str:
    return waiting.row.id if isinstance(waiting.row, Decision) else waiting.row.request_id  # type: ignore[union-attr]


@given(st.lists(st.sampled_from(VALUES), max_size=40), st.integers(1, 8))
def test_a_full_queue_drops_the_cheapest_and_never_what_was_paid_for(values: list[str], size: int) -> None:
    queue = Queue(size)
    dropped: list[str] = []
    waiting: Counter[str] = Counter()
    for i, value in enumerate(values):
        waiting[value] += 1
        lost = queue.put(entry(value, str(i)))
        if lost is not None:
            assert lost == next(candidate for candidate in VALUES if waiting[candidate])
            waiting[lost] -= 1
            dropped.append(lost)
    taken = queue.take(100)
    assert "answer" not in dropped
    assert Counter(found.value for found in taken) == +waiting
    assert len(taken) <= max(size, values.count("answer"))
    assert [VALUES.index(found.value) for found in taken] == sorted(
        (VALUES.index(found.value) for found in taken), reverse=True
    )


def test_of_equal_value_the_oldest_goes_and_the_rest_keep_their_order() -> None:
    queue = Queue(3)
    for i in range(5):
        queue.put(entry("local", str(i)))
    assert [name_of(found) for found in queue.take(2)] == ["2", "3"]
    queue.put(entry("local", "before"), first=True)
    assert [name_of(found) for found in queue.take(9)] == ["before", "4"]
    assert len(queue) == 0


def test_what_somebody_waits_for_is_not_dropped() -> None:
    queue = Queue(1)
    kept: Future[None] = Future()
    queue.put(Entry(correction("kept"), kept))
    assert queue.put(Entry(decision("other", deferred=True))) == "deferred"
    assert [name_of(found) for found in queue.take(9)] == ["kept"]


def as_dict(counts: list[Count]) -> dict[tuple[str, str], int]:
    return {(count.kind, count.key): count.n for count in counts}


def test_a_request_is_counted_by_all_that_is_known_of_it() -> None:
    tally = Tally()
    tally.request(*REQUEST)
    tally.request("teacher", None, True, True, False, None, False, 340.0, 1500)
    assert as_dict(tally.take()) == {
        ("requests", "all"): 2,
        ("source", "student"): 1,
        ("source", "teacher"): 1,
        ("intent", "payments"): 1,
        ("intent", ""): 1,
        ("flag", "accepted"): 1,
        ("flag", "cached"): 1,
        ("cached", "teacher"): 1,
        ("flag", "deferred"): 1,
        ("student_intent_requests", "payments"): 1,
        ("student_intent_texts", "payments"): 1,
        ("student_confidence_requests", "18"): 1,
        ("student_confidence_texts", "18"): 1,
        ("latency_all", "40"): 1,
        ("latency_all", "90"): 1,
        ("latency_local", "40"): 1,
        ("cost", "nano"): 1500,
    }


def test_totals_are_exact_with_many_threads_counting_and_one_taking() -> None:
    tally, each, stop = Tally(), 20_000, threading.Event()
    seen: dict[tuple[int, str, str, str], int] = {}

    def count() -> None:
        for _ in range(each):
            tally.request(*REQUEST)

    def take() -> None:
        for found in tally.take():
            seen[found.hour, found.kind, found.key, found.writer] = found.n
        tally.written()

    def keep_taking() -> None:
        while not stop.is_set():
            take()

    taker = threading.Thread(target=keep_taking)
    counters = [threading.Thread(target=count) for _ in range(6)]
    for thread in (taker, *counters):
        thread.start()
    for thread in counters:
        thread.join()
    stop.set()
    taker.join()
    take()
    assert sum(n for (_, kind, _, _), n in seen.items() if kind == "requests") == 6 * each


def test_what_could_not_be_written_is_taken_again_and_only_that() -> None:
    tally = Tally()
    tally.request(*REQUEST)
    failed = tally.take()
    assert tally.take() == []
    tally.again(failed)
    tally.note("dropped", "local", 3)
    assert as_dict(tally.take()) == {**as_dict(failed), ("dropped", "local"): 3}


def test_hours_that_are_over_are_forgotten_and_a_straggler_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_800_000_000.0]
    monkeypatch.setattr(counts.time, "time", lambda: now[0])
    tally, found = Tally(), []
    for step in (0, 3600, -3600, 0):
        now[0] += step
        tally.request(*REQUEST)
        found += tally.take()
        tally.written()
    latest = {(count.hour, count.kind, count.key, count.writer): count.n for count in found}
    hours = Counter[int]()
    for (hour, kind, _, _), n in latest.items():
        hours[hour] += n if kind == "requests" else 0
    assert sorted(hours.values()) == [1, 3]


def test_odd_intents_are_counted_under_a_key_that_any_database_takes() -> None:
    tally = Tally()
    for intent in ("x" * 5000, "nul\x00", "half \ud83d"):
        tally.request("teacher", intent, False, True, False, None, False, 0.012, 0)
    counts = tally.take()
    tally.again(counts)
    assert as_dict(tally.take()) == as_dict(counts)
    assert {count.key[:8] for count in counts if count.kind == "intent"} == {"x" * 8, "nul\ufffd", "half \ufffd"}
    assert max(len(count.key) for count in counts) == 200


@given(st.floats() | st.floats(0, 1e6))
def test_a_latency_lies_between_the_edges_of_its_bin(ms: float) -> None:
    place = latency_bin(ms)
    assert 0 <= place < 140
    if 0.011 < ms < 99_000:
        assert latency_edge(place) * 0.999999 <= ms <= latency_edge(place + 1) * 1.000001


@given(st.floats() | st.floats(0, 1))
def test_a_confidence_lies_between_the_edges_of_its_bin(confidence: float) -> None:
    place = confidence_bin(confidence)
    assert 0 <= place < 20
    if 0 <= confidence <= 1:
        assert place / 20 <= confidence * (1 + 1e-9)
        assert confidence <= (place + 1) / 20 + 1e-9


def test_bins_are_twelve_per_cent_wide() -> None:
    for place in range(139):
        assert latency_edge(place + 1) / latency_edge(place) == pytest.approx(1.122, abs=0.001)
    assert math.isclose(latency_edge(0), 0.01)


def test_counting_does_not_wait_for_whoever_folds() -> None:
    tally = Tally()
    with tally._lock:  # another thread is in the middle of it
        for _ in range(3 * counts.FOLD_AT):
            tally.request(*REQUEST)
    assert as_dict(tally.take())["requests", "all"] == 3 * counts.FOLD_AT


def test_memory_is_bounded_while_nobody_takes() -> None:
    tally = Tally()
    for i in range(20 * counts.FOLD_AT):
        tally.request("student", f"intent {i % 50}", False, False, True, None, False, 1.1, 0)
    assert len(tally._events) < counts.FOLD_AT
    assert len(tally._folded) <= 100
