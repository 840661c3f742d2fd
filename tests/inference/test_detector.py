import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log.detector import LIMIT, SUSPECT, Detector

TARGETS = [0.5, 0.9, 0.95, 0.99]


def answers_until_alarm(share: float, seed: int, most: int, before: int = 0) -> int:
    """How many answers that are right with probability `share` it takes after `before` at 97 %; `most` + 1: none."""
    draw = np.random.default_rng(seed)
    detector = Detector(0.95)
    for i, right in enumerate([*(draw.random(before) < 0.97), *(draw.random(most) < share)]):
        detector.add(bool(right))
        if detector.evidence >= LIMIT:
            return i + 1 - before
    return most + 1


@pytest.mark.parametrize("target", TARGETS)
@given(history=st.lists(st.booleans(), max_size=60))
def test_at_the_target_the_evidence_grows_by_one_a_step_on_average_whatever_came_before(
    target: float, history: list[bool]
) -> None:
    def evidence(*more: bool) -> float:
        detector = Detector(target)
        for agreed in [*history, *more]:
            detector.add(agreed)
        return detector.evidence

    expected = target * evidence(True) + (1 - target) * evidence(False)
    assert expected == pytest.approx(evidence() + 1)
    better = target + (1 - target) / 2
    assert better * evidence(True) + (1 - better) * evidence(False) < expected


def test_a_fall_to_90_percent_is_found_within_500_answers() -> None:
    runs = np.array([answers_until_alarm(0.90, seed, 500, before=300) for seed in range(200)])
    assert (runs > 0).all()
    assert (runs <= 500).mean() >= 0.9


def test_right_answers_are_no_evidence() -> None:
    detector = Detector(0.95)
    for _ in range(10_000):
        detector.add(True)
    assert detector.evidence < SUSPECT
