from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log.database import Store
from inference.log.decision_log import Count, DecisionLog
from inference.log.drift import ALPHA, SHIFTED, moved

MIXES = st.dictionaries(st.text(max_size=3), st.integers(1, 1000), min_size=1, max_size=6)


def drawn(rng: np.random.Generator, mix: np.ndarray, n: int) -> dict[str, int]:
    return {str(cell): int(count) for cell, count in enumerate(rng.multinomial(n, mix))}


def zipf(rng: np.random.Generator, cells: int) -> np.ndarray:
    """The mix of requests over intents where few texts are most of the traffic."""
    weight = 1 / np.arange(1, 3001)
    mix = np.bincount(rng.integers(cells, size=3000), weights=weight, minlength=cells)
    return np.asarray(mix / mix.sum())


def called_a_shift(live: dict[str, int], reference: dict[str, int]) -> bool:
    far, chance = moved(live, reference)
    return chance <= ALPHA and far >= SHIFTED


@pytest.mark.parametrize("cells", [5, 150])
def test_traffic_like_the_calibrations_is_hardly_ever_called_a_shift_and_ten_points_are(cells: int) -> None:
    false = found = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, cells])
        mix = zipf(rng, cells)
        other = 0.9 * mix
        other[int(mix.argmin())] += 0.1
        reference = drawn(rng, mix, 1500)
        false += called_a_shift(drawn(rng, mix, 3000), reference)
        found += called_a_shift(drawn(rng, other, 3000), reference)
    assert false <= 0.05 * 20
    assert found == 20


def test_what_is_counted_several_times_is_less_evidence() -> None:
    live, reference = {"a": 420, "b": 580}, {"a": 500, "b": 500}
    assert moved(live, reference)[1] <= ALPHA
    assert moved(live, reference, times=4.0)[1] > ALPHA


@given(MIXES, st.integers(1, 5))
def test_a_mix_is_not_far_from_itself(mix: dict[str, int], scale: int) -> None:
    far, chance = moved(Counter(mix), {name: n * scale for name, n in mix.items()})
    assert far == pytest.approx(0, abs=1e-9)
    assert chance > 0.5


@given(MIXES, MIXES)
def test_the_distance_is_a_share_and_the_same_both_ways(one: dict[str, int], other: dict[str, int]) -> None:
    assert 0 <= moved(one, other)[0] <= 1 + 1e-9
    assert moved(one, other)[0] == pytest.approx(moved(other, one)[0])


def test_processes_are_counted_by_their_share_of_the_requests(tmp_path: object) -> None:
    path = f"{tmp_path}/log.db"
    assert DecisionLog(path).name
    store = Store(path)
    rows = [Count(3600, "requests", "all", n, writer) for writer, n in {"a": 50, "b": 50, "c": 1}.items()]
    store.write([*rows, Count(7200, "requests", "all", 101, "a"), Count(7200, "cost", "nano", 5, "z")])
    store.close()
    assert DecisionLog(path).read_processes() == pytest.approx(1.52, abs=0.01)
    assert DecisionLog(path).read_processes(since=10_000) == 1.0
