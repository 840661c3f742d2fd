import contextlib
from pathlib import Path

import pytest

from inference.log.database import Store
from inference.log.decision_log import DecisionLog
from inference.log.marks import BY_BUNDLE, KIND, Alarm, End, Mark
from inference.log.rows import Count
from training.lifecycle.state import RECENT_REQUESTS, recent_since, told_of

QUESTION = "0123456789abcdef" * 4


@pytest.mark.parametrize(("count", "since"), [(RECENT_REQUESTS - 1, 0.0), (RECENT_REQUESTS, 1.0), (2000, 1501.0)])
def test_enough_requests_are_needed_to_judge_anew(count: int, since: float) -> None:
    assert recent_since([float(i + 1) for i in reversed(range(count))]) == since


def marked(path: Path, *marks: Mark) -> DecisionLog:
    with contextlib.closing(Store(path)) as store:
        store.write([Count(0, KIND, mark.key, 1, "w") for mark in marks])
    return DecisionLog(path)


def test_a_refresh_is_told_of_a_suspended_promise_and_of_what_ends_it(tmp_path: Path) -> None:
    log = marked(tmp_path / "log.db", Alarm(1_790_000_000.0, QUESTION, 0.95, 0.97))
    (told,) = told_of(log, 1_790_100_000.0, QUESTION)
    assert told.startswith("the promise of 0.95 is suspended since 2026-09-21 14:13 UTC: this round goes first; ")
    assert "500 calibrating requests" in told


def test_another_questions_promise_or_one_that_is_over_is_not_told_of(tmp_path: Path) -> None:
    alarm = Alarm(1_790_000_000.0, QUESTION, 0.95, 0.97)
    log = marked(
        tmp_path / "log.db", alarm, End(alarm.time + 1, QUESTION, BY_BUNDLE), alarm._replace(question="f" * 64)
    )
    assert told_of(log, 1_790_100_000.0, QUESTION) == []
