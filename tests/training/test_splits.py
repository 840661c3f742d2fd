import collections
from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training.test_duplicates import near_pairs
from training.data.splits import SPLITS, Linked, components, divide, pick

SHARES = (0.55, 0.10, 0.25, 0.10)


def split(
    texts: list[str], kept: Mapping[str, str], given_splits: list[str] | None = None
) -> tuple[dict[str, str], collections.Counter[str]]:
    """The splits of queries k0, k1, …, divided by SHARES where they came without one, and the tally."""
    tally: collections.Counter[str] = collections.Counter()
    keys = tuple((f"k{i}",) for i in range(len(texts)))
    linked = Linked(keys, tuple(given_splits or [""] * len(texts)), near_pairs(texts))
    return divide(linked, {"": SHARES}, kept, "salt", tally), tally


@given(st.data())
def test_near_duplicates_share_a_split_and_stored_splits_hold(data: st.DataObject) -> None:
    texts = data.draw(
        st.lists(st.text("abcdefgh ", min_size=8, max_size=14).filter(str.strip), min_size=1, max_size=12, unique=True)
    )
    texts += [text + "!" for text in texts]
    keys = [f"k{i}" for i in range(len(texts))]
    kept = {key: data.draw(st.sampled_from(SPLITS)) for key in data.draw(st.sets(st.sampled_from(keys)))}
    result, tally = split(texts, kept)
    assert {key: result[key] for key in kept} == kept
    assert len(result) + tally["bridging"] == len(keys)
    for i, j in near_pairs(texts):
        a, b = keys[i], keys[j]
        if a in result and b in result and not {a, b} <= set(kept):
            assert result[a] == result[b]


CHAIN = ["please close my old account", "please close my old account now", "please close my old account now ok"]


def test_a_row_that_would_bridge_two_splits_is_dropped_and_counted() -> None:
    result, tally = split(CHAIN, {"k0": "train", "k2": "test"})
    assert result == {"k0": "train", "k2": "test"}
    assert tally["bridging"] == 1


def test_a_row_without_a_split_joins_the_file_that_its_near_duplicate_came_in() -> None:
    for name in SPLITS:
        result, _ = split([*CHAIN[:2], "another thing"], {}, [name, "", ""])
        assert result["k1"] == result["k0"] == name


def test_near_duplicates_that_came_in_two_files_stay_where_they_are() -> None:
    result, tally = split(CHAIN[:2], {}, ["train", "test"])
    assert result == {"k0": "train", "k1": "test"}
    assert not tally["bridging"]


def test_shares_are_kept_over_many_groups() -> None:
    counts = collections.Counter(pick(str(i), SHARES, "salt") for i in range(20000))
    assert np.allclose([counts[name] / 20000 for name in SPLITS], SHARES, atol=0.01)


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))))
def test_components_are_what_reachability_says(pairs: set[tuple[int, int]]) -> None:
    near = collections.defaultdict(set)
    for i, j in pairs:
        near[i].add(j)
        near[j].add(i)
    found = components(range(10), lambda i: near[i])
    assert sorted(i for group in found for i in group) == list(range(10))
    of = {i: n for n, group in enumerate(found) for i in group}
    assert all(of[i] == of[j] for i, j in pairs)
    for group in found:
        reached = {group[0]}
        for _ in group:
            reached |= {j for i in reached for j in near[i]}
        assert reached == set(group)
