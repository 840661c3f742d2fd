import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.replay import (
    LATENCY_MS,
    OUTSIDE,
    STREAMS,
    Kind,
    Played,
    Request,
    call_usage,
    figures,
    make_stream,
    missed,
    play,
    popularity,
    verdict,
)
from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Answer
from inference.classifier import Classifier
from inference.log.rows import TeacherAnswer
from inference.teachers.prompt import Prompt
from tests.tiny import tiny_rows

GOLD = {row["text"]: row["label"] for row in tiny_rows()}
ANSWER = Answer("a", "yes", 0.9, True, "student", False, False, 0.0, 1.0, "bundle")
CALL = TeacherAnswer("b", 0.0, "two", "gold", "prompt", "yes", None, {}, 0.5, None, False)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_a_stream_has_its_share_of_unseen_texts_and_their_gold_labels(share: float) -> None:
    stream = make_stream(GOLD, 600, Kind(unseen=share))
    seen: set[str] = set()
    for request in stream:
        assert request.unseen is (request.text not in seen)
        seen.add(request.text)
    assert len(stream) == 600
    assert len(seen) >= share * 600
    for request in stream:
        original = [text for text in GOLD if text in request.text[:1].lower() + request.text[1:]]
        assert request.gold in {GOLD[text] for text in original}


def test_a_stream_repeats_the_popular_texts_most_and_comes_again_from_its_seed() -> None:
    stream = make_stream(GOLD, 2000, Kind(unseen=0.1))
    counts = sorted((sum(r.text == text for r in stream) for text in {r.text for r in stream}), reverse=True)
    assert counts[0] > 1.3 * counts[1] > counts[9]
    assert stream == make_stream(GOLD, 2000, Kind(unseen=0.1))
    assert stream != make_stream(GOLD, 2000, Kind(unseen=0.1), seed=1)


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_of_its_kind(name: str) -> None:
    kind, gold = STREAMS[name], {text: OUTSIDE if i % 3 == 0 else "yes" for i, text in enumerate(GOLD)}
    weights = popularity(np.array([label == OUTSIDE for label in gold.values()]), kind)
    assert weights.sum() == pytest.approx(1)
    outside = sum(weight for weight, label in zip(weights, gold.values(), strict=True) if label == OUTSIDE)
    assert kind.outside is None or outside == pytest.approx(kind.outside)
    assert weights[0] / weights[3] == pytest.approx(4**kind.exponent)
    stream = make_stream(gold, 600, kind)
    assert sum(request.unseen for request in stream) >= kind.unseen * 600


def test_more_unseen_texts_than_there_are_edits_are_refused() -> None:
    with pytest.raises(ValueError, match="100% of 1000"):
        make_stream({"one": "x", "two": "y"}, 1000, Kind(unseen=1.0))


def test_figures_are_sums_over_requests_and_calls() -> None:
    answers = [
        ANSWER,
        replace(ANSWER, id="b", source="teacher", deferred=True, cost_usd=0.5),
        replace(ANSWER, id="c", cached=True),
        replace(ANSWER, id="d", intent="no", source="fallback", accepted=False),
    ]
    stream = [Request(text, "yes", True) for text in ("one", "two", "one", "four")]
    late = np.array([False] * 4)
    played = Played(stream, answers, [answer.intent for answer in answers], np.array([1.0, 600, 0, 2]), late, [CALL])
    found = figures(played, usd_all_teacher=2.0)
    assert found["cost per request, $"] == 0.125
    assert found["cost / all-teacher"] == 0.25
    assert (found["LLM call rate"], found["misses: LLM call rate"]) == (0.25, 1 / 3)
    assert (found["accuracy"], found["misses: accuracy"]) == (0.75, 2 / 3)
    assert (found["cache hit rate"], found["accepted locally"], found["marked guesses"]) == (0.25, 0.5, 0.25)
    assert (found["accepted locally: accuracy"], found["marked guesses: accuracy"]) == (1.0, 0.0)
    assert found["p50 ms"] == 1.5


def test_the_nothing_of_a_share_is_no_number_and_targets_are_strict() -> None:
    played = Played([Request("one", "yes", True)], [ANSWER], ["yes"], np.array([1.0]), np.array([False]), [])
    assert math.isnan(figures(played, 1.0)["marked guesses: accuracy"])
    assert [verdict("cache hit rate", share) for share in (0.6, 0.61)] == ["missed", "met"]
    assert [verdict("LLM call rate", share) for share in (0.3, 0.29)] == ["missed", "met"]


def test_every_target_that_is_missed_has_a_line() -> None:
    played = Played(
        [Request("one", "yes", True)] * 2, [ANSWER] * 2, ["yes", "no"], np.ones(2), np.array([False] * 2), []
    )
    lines = list(missed({"wait": figures(played, 1.0)}, cacheable=0.5))
    assert [line.partition(" missed: ")[0] for line in lines] == ["wait, accuracy", "wait, cache hit rate"]
    assert "at most 50.0% of requests can be cached" in lines[1]


def test_a_call_that_writes_the_providers_cache_has_the_same_tokens(tiny_data: Path) -> None:
    prompt = Prompt.of(Taxonomy.load(tiny_data / "taxonomy.toml"))
    warm, cold = (call_usage(prompt, "stop the refund", "payments", cached) for cached in (True, False))
    assert warm.prompt_tokens == cold.prompt_tokens
    assert warm.cache_read_tokens == cold.cache_write_tokens > 0


def test_waiting_is_right_and_slow_and_never_deferring_is_free(tiny_home: Path, tmp_path: Path) -> None:
    stream = make_stream(GOLD, 300)
    played = {}
    for mode in ("wait", "never"):
        (tmp_path / mode).mkdir()
        # So few rows certify nothing at this target: what is not cached is deferred.
        played[mode] = play(tiny_home, stream, mode, 0.99, tmp_path / mode)
    wait, never = (figures(played[mode], usd_all_teacher=1.0) for mode in ("wait", "never"))
    # The answer to a request of the sample is cached for nobody, so that a repeat may miss: of 300 requests for three.
    share = sum(not request.unseen for request in stream) / 300
    assert share - 0.05 < wait["cache hit rate"] <= share
    assert wait["LLM call rate"] > 1 - wait["cache hit rate"] - 0.01
    assert wait["cost per request, $"] > 0
    assert wait["accuracy"] > 0.95
    assert LATENCY_MS < wait["p95 ms"] <= wait["p99 ms"] <= 2000
    assert wait["marked guesses"] == wait["  of them past the deadline"] < 0.05
    assert never["LLM call rate"] == never["cost per request, $"] == never["cache hit rate"] == 0
    assert never["marked guesses"] == 1


def test_what_would_have_passed_the_deadline_is_the_students_guess(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.replay.LATENCY_MS", 60_000.0)
    stream = make_stream(dict.fromkeys(list(GOLD)[:50], "unknown"), 40)
    played = play(tiny_home, stream, "wait", 0.99, tmp_path)
    classifier = Classifier.load(tiny_home)
    for request, answer, intent, late, ms in zip(
        stream, played.answers, played.intents, played.late, played.latency_ms, strict=True
    ):
        assert late == (not answer.cached)
        assert intent == ("unknown" if answer.cached else classifier.predict(request.text).intent)
        assert ms <= 2000
