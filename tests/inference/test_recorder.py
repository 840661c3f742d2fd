import collections
import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Rule
from inference.cascade import Cascade
from inference.log.counts import confidence_bin
from inference.log.decision_log import DecisionLog
from inference.serving.answer import Answer, Request
from inference.serving.own import OwnAnswers
from inference.serving.recorder import Recorder
from inference.serving.sample import Draw
from inference.serving.tier import NO_GUESS, Guess
from tests.ruled import add_rules


def test_drift_counts_the_students_own_answers_and_no_rules(tiny_home: Path, tmp_path: Path) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))
    with Cascade.load(home) as cascade:
        for _ in range(2):  # the second time from the cache
            assert cascade.classify("stop the zebra").source == "rules"
        confidence = cascade.classify("find the zebra").confidence
    counts = list(DecisionLog(home / "decisions.db").read_counts())
    assert [(count.key, count.n) for count in counts if count.kind == "student_confidence_requests"] == [
        (str(confidence_bin(confidence)), 1)
    ]
    assert {(count.key, count.n) for count in counts if count.kind == "requests"} == {("all", 3)}


Asked = tuple[int, bool]  # a text's number, and whether it comes from the cache where it can


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_the_students_answers_are_counted_by_request_and_by_text_whoever_answered(asked: list[Asked]) -> None:
    log, seen = Counted(), set[int]()
    recorder = Recorder(log, str)  # type: ignore[arg-type]
    for number, cached in asked:
        own = Guess(f"intent {number}", number / 10, number % 2 == 0, "student" if number % 2 == 0 else "fallback")
        by_teacher = Guess("another", None, True, "teacher", True)
        hit = own if number % 2 == 0 else by_teacher
        request, answer = answered("", f"text {number}", hit if cached and number in seen else own)
        recorder.record(request, answer)
        seen.add(number)
    expected = collections.Counter((f"intent {number}", number / 10) for number, _ in asked)
    assert collections.Counter(own for own, _ in log.counted) == expected
    assert collections.Counter(own for own, again in log.counted if not again) == collections.Counter(set(expected))


class Counted:
    """A log that keeps what it is to count for drift, and no rows."""

    def __init__(self) -> None:
        self.counted: list[tuple[tuple[str, float], bool]] = []

    def count(self, *what: Any) -> None:
        self.counted.append((what[5], what[8]))

    def put(self, row: object) -> None:
        pass


def test_only_so_many_texts_are_known_to_drift() -> None:
    own = OwnAnswers(size=2)
    for text in ("a", "b", "c"):
        assert own.of(answered("", text, Guess("account", 0.5, False, "fallback"))[0]) == (("account", 0.5), False)
    cached = Guess("payments", None, True, "teacher", True)
    assert own.of(answered("", "a", cached)[0]) == (None, False)
    assert own.of(answered("", "c", cached)[0]) == (("account", 0.5), True)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 9)), max_size=30))
def test_remembered_texts_are_bounded_by_their_size_and_the_newest_stays(asked: list[tuple[str, int]]) -> None:
    most = 700
    recorder = Recorder(None, str, most_characters=most)
    for name, length in asked:
        recorder.record(*answered(name * 50, "\U0001f98a" * 100 * length))
        kept = [(name, text) for name, _, text in recorder._recent]
        assert sum(len(part) for pair in kept for part in pair) == recorder._characters <= most
        assert length > 6 or name * 50 in dict(kept)


def test_of_repeated_ids_the_newest_request_is_remembered(tmp_path: Path) -> None:
    with contextlib.closing(DecisionLog(tmp_path / "log.db")) as log:
        recorder = Recorder(log, str, remembered=2)
        for name, text in (("a", "one"), ("b", "two"), ("a", "three"), ("c", "four")):
            recorder.record(*answered(name, text))
        recorder.correct("a", "account", None)
        with pytest.raises(KeyError, match="'b' is no longer remembered"):
            recorder.correct("b", "account", None)
    (row,) = log.read_corrections()
    assert (row.request_id, row.text) == ("row of three", "three")


def test_a_row_that_cannot_be_made_is_noted_and_raises_nothing(tmp_path: Path) -> None:
    with contextlib.closing(DecisionLog(tmp_path / "log.db")) as log:
        recorder = Recorder(log, str)
        request, answer = answered("a", "one")
        recorder.record(request, replace(answer, deferred=True, confidence="high"))  # type: ignore[arg-type]
        assert recorder.counts()["not logged: TypeError"] == 1


def answered(name: str, text: str, guess: Guess = NO_GUESS) -> tuple[Request, Answer]:
    request = Request(Draw(f"row of {text}", 0.5, 0.0, ""), name, text, text, 0.0, guess, None)
    return request, Answer(request.id, "account", None, True, "teacher", False, False, 0.0, 1.0, None)
