import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.sizes import MOST_OF_DELTA, Goal, shares, shares_of_train, shares_of_val
from training.evaluation.statistics import binomial_p_value

targets = st.floats(0.5, 0.999)


@given(st.integers(1, 10**6), targets)
def test_shares_are_shares_and_train_gets_the_most(rows: int, target: float) -> None:
    parts = shares(rows, Goal(target))
    assert sum(parts) == pytest.approx(1)
    assert min(parts) >= 0
    assert max(parts) == parts[0]


@given(targets)
def test_from_the_fewest_rows_on_a_perfect_student_can_be_certified_and_not_before(target: float) -> None:
    goal = Goal(target)
    assert binomial_p_value(0, goal.fewest_trials, 1 - target) <= MOST_OF_DELTA * goal.delta
    assert binomial_p_value(0, goal.fewest_trials - 1, 1 - target) > MOST_OF_DELTA * goal.delta
    if goal.fewest_rows < 10_000:
        assert shares(goal.fewest_rows, goal)[2] * goal.fewest_rows >= goal.fewest_trials - 1e-6
        assert shares(goal.fewest_rows - 1, goal)[2] == 0


def test_what_judges_is_capped_in_large_data() -> None:
    small, large = shares(2464, Goal()), shares(10**6, Goal())
    assert round(2464 * small[1]) == 246
    assert 700 < 2464 * small[2] < 900
    assert 10**6 * (1 - large[0]) < 10_000


def test_a_train_file_gives_up_rows_only_for_the_splits_without_a_file() -> None:
    whole = shares(5000, Goal())
    assert shares_of_train(5000, Goal(), ("dev", "calibration", "test")) == pytest.approx(whole)
    part = shares_of_train(5000, Goal(), ("calibration",))
    assert part == pytest.approx((1 - whole[2], 0, whole[2], 0))


def test_a_val_file_calibrates_where_it_is_large_enough_and_nothing_else_does() -> None:
    assert shares_of_val(500, Goal(), True)[2] > shares_of_val(500, Goal(), True)[1] > 0
    assert shares_of_val(500, Goal(), False) == shares_of_val(50, Goal(), True) == (0, 1, 0, 0)
