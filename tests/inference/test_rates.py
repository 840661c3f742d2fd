import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log.database import Store
from inference.log.decision_log import DecisionLog
from inference.log.detector import LIMIT
from inference.log.rates import (
    DAY_S,
    FIRST,
    KIND,
    NARROW,
    STEPS,
    SUSPICIOUS,
    WHY,
    Choice,
    Rates,
    Seen,
    change,
    newest,
    rate_of,
    read_choices,
)
from inference.log.rows import Count

NOW = 1_790_000_000.0
HOUR = int(NOW // 3600)
UNSURE, SURE = Seen(0, 0, 0.95, 0.0, False), Seen(1940, 2000, 0.95, 0.0, False)
REQUESTS = st.floats(0, 1e9)


# What the rate should be for.


def test_it_is_sure_once_the_confidence_sequence_is_narrow_and_nothing_speaks_against_the_promise() -> None:
    assert UNSURE.why == "unsure"
    assert SURE.why == "sure"
    assert SURE._replace(evidence=SUSPICIOUS).why == "suspicious"
    assert SURE._replace(suspended=True, evidence=LIMIT).why == "suspended"


@given(asked=st.integers(0, 5000), share=st.floats(0, 1))
def test_what_is_sure_is_known_within_the_width_that_is_stated(asked: int, share: float) -> None:
    seen = Seen(int(share * asked), asked, 0.95, 0.0, False)
    if seen.why == "sure":
        assert asked * NARROW > 4, "four answers cannot tell"


@given(why=st.sampled_from(sorted(WHY)), requests=REQUESTS, calls=st.floats(0.001, 1e6))
def test_the_budget_holds_unless_even_the_lowest_step_is_over_it(why: str, requests: float, calls: float) -> None:
    rate = rate_of(why, requests, calls)
    assert rate in STEPS
    assert rate * requests <= calls or rate == STEPS[0]
    assert rate_of("sure", requests, calls) <= rate_of("unsure", requests, calls)


@pytest.mark.parametrize(
    ("requests", "unsure", "sure"), [(100, 0.3, 0.1), (1_000, 0.1, 0.03), (10_000, 0.01, 0.003), (1e9, 0.0001, 0.0001)]
)
def test_the_rate_is_the_highest_step_within_the_budget_and_one_step_less_is_enough_once_it_is_sure(
    requests: float, unsure: float, sure: float
) -> None:
    assert rate_of("unsure", requests, 100.0) == unsure
    assert rate_of("sure", requests, 100.0) == sure


# When it changes.


@pytest.mark.parametrize(
    ("before", "why", "requests", "after_s", "expected"),
    [
        (None, "unsure", 10_000, 0, 0.01),
        ((0.01, "unsure"), "unsure", 10_000, 9 * DAY_S, None),
        ((0.01, "unsure"), "sure", 10_000, DAY_S - 1, None),
        ((0.01, "unsure"), "sure", 10_000, DAY_S, 0.003),
        ((0.003, "sure"), "suspicious", 10_000, 1, 0.01),  # there is something to find out: at once
        ((0.003, "sure"), "suspended", 10_000, 1, 0.01),
        ((0.003, "sure"), "unsure", 10_000, 1, 0.01),  # a bundle was published
        ((0.01, "unsure"), "unsure", 20_000, 1, 0.003),  # over the budget: at once
        ((0.003, "unsure"), "unsure", 5_000, 1, None),  # less traffic, perhaps for an hour
        ((0.003, "unsure"), "unsure", 5_000, DAY_S, 0.01),
    ],
)
def test_it_changes_at_once_for_what_cannot_wait_and_else_once_a_day(
    before: Any, why: str, requests: float, after_s: float, expected: float | None
) -> None:
    now = None if before is None else Choice(NOW, "q1", *before)
    assert change(now, why, requests, 100.0, NOW + after_s) == expected


# In a log.


@pytest.fixture
def log(tmp_path: Path) -> DecisionLog:
    return DecisionLog(tmp_path / "log.db")


def traffic(log: DecisionLog, a_day: int, hours: int = 26, until: int = HOUR) -> None:
    counts = [Count(hour * 3600, "requests", "all", a_day // 24, "w") for hour in range(until - hours, until)]
    store = Store(log.name)
    store.write(counts)
    store.close()


def rates(log: DecisionLog, calls_a_day: float = 100.0) -> Rates:
    return Rates(log, calls_a_day, log.note)


def test_without_an_hour_of_traffic_nothing_is_chosen(log: DecisionLog) -> None:
    traffic(log, 2400, hours=1)
    assert rates(log).look("q1", UNSURE, NOW) is None


@pytest.mark.parametrize("hours", [3, 26, 60])
def test_traffic_is_that_of_the_last_day_or_of_the_hours_that_there_are(log: DecisionLog, hours: int) -> None:
    traffic(log, 2400, hours)
    choice = rates(log, calls_a_day=24.0).look("q1", UNSURE, NOW)
    assert choice is not None
    assert choice.rate == 0.01
    assert choice.why == "unsure"


def test_all_processes_follow_the_newest_choice_also_after_a_restart(log: DecisionLog) -> None:
    traffic(log, 2400)
    first, other = rates(log), rates(DecisionLog(log.name))
    chosen = first.look("q1", UNSURE, NOW)
    log.close()
    assert chosen is not None
    assert other.look("q1", UNSURE, NOW + 10) == chosen
    assert rates(DecisionLog(log.name)).read("q1", NOW + 20) == chosen
    traffic(log, 2400, until=HOUR + 24)
    later = other.look("q1", SURE, NOW + DAY_S)
    assert later is not None
    assert later.rate < chosen.rate
    assert later.epoch != chosen.epoch
    assert newest([later, chosen], "q1") == later


def test_a_choice_by_a_clock_that_is_ahead_is_followed_by_others(log: DecisionLog) -> None:
    traffic(log, 240_000)
    ahead = Choice(NOW + 30 * DAY_S, "q1", 0.3, "unsure")
    log.note(KIND, ahead.key)
    log.close()
    one = rates(log)
    chosen = one.look("q1", UNSURE, NOW)
    assert chosen is not None
    assert (chosen.rate, chosen.epoch != ahead.epoch) == (0.0003, True)
    log.close()
    assert one.look("q1", UNSURE, NOW + 10) == chosen
    assert rates(DecisionLog(log.name)).read("q1", NOW + 20) == chosen


def test_another_question_chooses_for_itself(log: DecisionLog) -> None:
    traffic(log, 2400)
    assert rates(log).look("q1", UNSURE, NOW) is not None
    log.close()
    assert rates(log).read("q2", NOW) is None


CHOICES = st.builds(Choice, st.floats(0, 1e10), st.just("q1"), st.sampled_from(STEPS), st.sampled_from(sorted(WHY)))


@given(st.lists(CHOICES), st.randoms())
def test_choices_read_as_they_were_written_and_their_order_does_not_matter(
    choices: list[Choice], shuffled: random.Random
) -> None:
    counts = [Count(0, KIND, one.key, 1) for one in choices] + [Count(0, KIND, "later versions know what else", 1)]
    shuffled.shuffle(counts)
    found = read_choices(counts)
    assert found == set(choices)
    assert newest(found, "q1") == max(choices, default=None)


def test_steps_are_few_and_the_first_rate_is_one_of_them() -> None:
    assert FIRST in STEPS
    assert all(2.9 < after / before < 3.4 for before, after in itertools.pairwise(STEPS))
    assert math.isclose(rate_of("first", 0.0, 100.0), max(STEPS))
