from hypothesis import given
from hypothesis import strategies as st

from inference.common.text import query_form
from training.data.duplicates import near_pairs
from training.data.shingles import THRESHOLD, shingles

WORD = ["my", "your", "card", "refund", "late", "order", "is", "not", "here", "where", "the"]
WORDS = st.lists(st.sampled_from(WORD), max_size=9)


def naive_pairs(texts: list[str]) -> list[tuple[int, int]]:
    sets = [shingles(text) for text in texts]
    return [
        (i, j)
        for i in range(len(sets))
        for j in range(i + 1, len(sets))
        if len(sets[i] & sets[j]) >= THRESHOLD * len(sets[i] | sets[j])
    ]


@given(st.lists(WORDS.map(" ".join), max_size=12))
def test_the_join_finds_exactly_the_pairs_that_comparing_all_finds(texts: list[str]) -> None:
    assert near_pairs(texts) == naive_pairs(texts)


def test_punctuation_and_case_do_not_hide_a_near_duplicate() -> None:
    assert near_pairs(["Where is my refund?!", "where is my refund", "close my account"]) == [(0, 1)]


def test_normalise_folds_case_width_and_white_space() -> None:
    assert query_form("  My\u3000ＣＡＲＤ\n is lost ") == "my card is lost"
