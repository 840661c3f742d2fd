import random

from hypothesis import given
from hypothesis import strategies as st

from training.data import noise

TEXTS = st.text(max_size=200)


@given(TEXTS, st.integers(0, 1000))
def test_the_same_seed_gives_the_same_noise_and_words_stay_where_they_are(text: str, seed: int) -> None:
    noisy = noise.with_typos(text, random.Random(seed))
    assert noisy == noise.with_typos(text, random.Random(seed))
    assert len(noisy.split()) == len(text.split())


@given(st.text(min_size=1, max_size=100).filter(str.strip), st.integers(0, 1000))
def test_a_hurried_text_is_never_empty(text: str, seed: int) -> None:
    assert noise.in_a_hurry(text, random.Random(seed)).strip()


def test_a_slip_changes_one_place_of_a_word() -> None:
    words = {noise.slip("password", random.Random(seed)) for seed in range(200)}
    assert all(len("password") - 1 <= len(word) <= len("password") + 1 for word in words)
    assert all(word[0] == "p" for word in words)
    assert len(words) > 10


def test_short_words_and_numbers_are_left_alone() -> None:
    assert noise.with_typos("a1b2 the 99887766 cat", random.Random(0)) == "a1b2 the 99887766 cat"
    assert noise.in_a_hurry("Where's my REFUND?!", random.Random(3)).split()[1] == "my"
