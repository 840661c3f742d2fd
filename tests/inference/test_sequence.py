import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log.sequence import interval

COUNTS = st.integers(0, 3000).flatmap(lambda asked: st.tuples(st.integers(0, asked), st.just(asked)))
SHARES = st.floats(0.5, 0.999)


def ever_left_out(share: float, seed: int, runs: int = 200, looks: int = 30, each: int = 50) -> float:
    """In which share of histories, looked at `looks` times, the interval leaves out the true share at least once."""
    agreed = np.random.default_rng(seed).binomial(each, share, (runs, looks)).cumsum(axis=1)
    found = [[interval(int(right), each * (i + 1), 0.95) for i, right in enumerate(run)] for run in agreed]
    return float(np.mean([any(not low <= share <= high for low, high in run) for run in found]))


@pytest.mark.parametrize("share", [0.97, 0.90, 0.60])
def test_it_holds_the_share_at_every_look(share: float) -> None:
    assert ever_left_out(share, seed=1) <= 0.05


@given(COUNTS, SHARES)
def test_it_holds_what_was_found_and_lies_within_all_shares(counts: tuple[int, int], expected: float) -> None:
    low, high = interval(*counts, expected)
    assert 0 <= low <= counts[0] / max(1, counts[1]) <= high <= 1 or counts[1] == 0
    assert counts[0] > 0 or low == 0
    assert counts[0] < counts[1] or high == 1


@given(COUNTS, SHARES)
def test_more_answers_of_the_same_share_narrow_it(counts: tuple[int, int], expected: float) -> None:
    low, high = interval(*counts, expected)
    more_low, more_high = interval(10 * counts[0], 10 * counts[1], expected)
    assert more_high - more_low <= high - low


def test_no_answers_leave_out_nothing() -> None:
    assert interval(0, 0, 0.95) == (0.0, 1.0)


def test_it_is_narrow_near_the_share_that_is_expected() -> None:
    low, high = interval(1940, 2000, 0.95)
    assert high - low < 0.026  # 0.015 by Wilson, which holds at one look
    assert low > 0.95


@pytest.mark.parametrize("wrong", [(-1, 3, 0.95), (4, 3, 0.95), (1, 3, 1.0), (1, 3, 0.0)])
def test_impossible_counts_are_refused(wrong: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= agreed <= asked"):
        interval(*wrong)
