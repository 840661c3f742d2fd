import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.size import edited, filled, template
from inference.common.text import query_form
from training.data.duplicates import near_groups, pairs_within
from training.data.shingles import THRESHOLD, Sets, cut, shingles

WORD = ["my", "your", "card", "refund", "late", "order", "is", "not", "here", "where", "the"]
WORDS = st.lists(st.sampled_from(WORD), max_size=9)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
VOCABULARY = [
    f"{a}{b}{c}" for a in ("ba", "lo", "mir", "ste") for b in ("na", "ku", "lis") for c in ("ro", "vent", "my")
]


def naive_pairs(texts: list[str]) -> list[tuple[int, int]]:
    sets = [shingles(text) for text in texts]
    return [
        (i, j)
        for i in range(len(sets))
        for j in range(i + 1, len(sets))
        if len(sets[i] & sets[j]) >= THRESHOLD * len(sets[i] | sets[j])
    ]


def near_pairs(texts: list[str]) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in pairs_within(texts, near_groups(texts))]


def table(rng: random.Random) -> list[str]:
    """Edits of some sentences, and copies of a template."""
    seeds = [" ".join(rng.choices(VOCABULARY, k=rng.randrange(3, 12))) for _ in range(12)]
    pattern = template(VOCABULARY, rng)
    texts = [edited(rng.choice(seeds), rng) for _ in range(200)] + [filled(pattern, rng) for _ in range(60)]
    return rng.sample(texts, len(texts))


@given(st.lists(WORDS.map(" ".join) | ANY, max_size=12))
def test_the_join_finds_exactly_the_pairs_that_comparing_all_finds(texts: list[str]) -> None:
    assert near_pairs(texts) == naive_pairs(texts)


@given(st.lists(WORDS.map(" ".join) | ANY, max_size=12), st.booleans(), st.booleans())
def test_a_group_is_named_by_its_first_text_and_held_together_by_pairs(
    texts: list[str], exact: bool, by_hashes: bool
) -> None:
    groups, pairs = near_groups(texts, 50 * exact, 50 * (not by_hashes)).tolist(), naive_pairs(texts)
    assert all(groups[group] == group <= i for i, group in enumerate(groups))
    joined = list(range(len(texts)))
    for _ in texts:
        for i, j in pairs:
            if groups[i] == groups[j]:
                joined[i] = joined[j] = min(joined[i], joined[j])
    assert joined == groups
    if exact:
        assert all(groups[i] == groups[j] for i, j in pairs)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_of_many_texts_nearly_all_pairs_end_in_one_group_and_all_copies_do(seed: int) -> None:
    texts = table(random.Random(seed))
    texts += [f"{text}?!".upper() for text in texts[:20]]
    groups = near_groups(texts, exact=0)
    together = [groups[i] == groups[j] for i, j in pairs_within(texts, np.zeros(len(texts), int))]
    # One pair that is missed may part many in a table so small: benchmarks.size measures 99 % on large ones.
    assert np.mean(together) >= 0.95
    assert (groups[:20] == groups[-20:]).all()


def test_punctuation_and_case_do_not_hide_a_near_duplicate() -> None:
    assert near_pairs(["Where is my refund?!", "where is my refund", "close my account"]) == [(0, 1)]


def test_normalise_folds_case_width_and_white_space() -> None:
    assert query_form("  My\u3000ＣＡＲＤ\n is lost ") == "my card is lost"


@pytest.mark.parametrize("text", ["", "?", "ab", "abc", "abcd", "\U0001f600\U0001f600", "a\0", "long " * 220_000])
def test_every_text_has_as_many_hashes_as_shingles(text: str) -> None:
    sets = Sets.of([text, "between", text])
    assert sets.sizes.tolist() == [len(shingles(text)), 4, len(shingles(text))]
    assert sets.similar(np.array([0, 0]), np.array([2, 1])).tolist() == [True, False]


@given(st.lists(st.integers(0, 20)), st.integers(1, 30), st.integers(1, 5))
def test_what_is_cut_comes_once_and_in_pieces_that_are_small_enough(sizes: list[int], most: int, longest: int) -> None:
    parts = [sizes[part] for part in cut(np.array(sizes, int), most, longest)]
    assert [size for part in parts for size in part] == sizes
    assert all(len(part) == 1 or (len(part) <= longest and sum(part) <= most) for part in parts)
