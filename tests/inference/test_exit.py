import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.exit import BITS, Exit, buckets, buckets_of_many

IDS = st.lists(st.integers(0, 300_000), max_size=40)
LABELS = 5


def model(seed: int = 0, most_unknown: float = 1.0) -> Exit:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 50, 1 << BITS).astype(np.uint16)
    weights = rng.integers(-127, 128, (50, LABELS)).astype(np.int8)
    weights[0] = 0
    return Exit(rows, weights, 0.25, most_unknown)


@given(IDS)
def test_a_text_has_its_tokens_its_pairs_and_its_pairs_with_one_token_between(ids: list[int]) -> None:
    found = buckets(ids)
    n = len(ids)
    assert len(found) == n + max(n - 1, 0) + max(n - 2, 0)
    assert ((found >= 0) & (found < 1 << BITS)).all()
    alone = [int(buckets([one])[0]) for one in ids]
    pairs = [int(buckets(ids[i : i + 2])[2]) for i in range(n - 1)]
    apart = [int(buckets(ids[i : i + 3])[5]) for i in range(n - 2)]
    assert found.tolist() == alone + pairs + apart


def test_the_order_of_a_pair_and_what_is_between_count() -> None:
    assert buckets([7, 8])[2] != buckets([8, 7])[2]
    assert buckets([7, 8])[2] != buckets([7, 5, 8])[5]


def test_the_hash_is_the_one_that_published_bundles_were_made_with() -> None:
    assert buckets([101, 2073, 2003]).tolist() == [27925, 16428, 48824, 116420, 29763, 39334]


def test_tokens_spread_over_the_buckets_as_by_chance() -> None:
    by_chance = (1 << BITS) * (1 - np.exp(-30_000 / (1 << BITS)))
    assert len(np.unique(buckets(range(30_000))[:30_000])) == pytest.approx(by_chance, rel=0.02)


@given(st.lists(IDS, max_size=6))
def test_several_texts_have_the_n_grams_of_each(texts: list[list[int]]) -> None:
    found, text = buckets_of_many(texts)
    assert text.tolist() == sorted(text.tolist())
    for i, ids in enumerate(texts):
        assert sorted(found[text == i].tolist()) == sorted(buckets(ids).tolist())


@given(st.lists(IDS | st.lists(st.integers(0, 3), max_size=3), max_size=12), st.sampled_from([0.0, 0.02, 0.5, 1.0]))
def test_several_texts_have_the_logits_of_each_to_the_last_bit(texts: list[list[int]], most_unknown: float) -> None:
    exit = model(most_unknown=most_unknown)
    together = exit.logits_of_many(texts)
    assert together.shape == (len(texts), LABELS)
    for ids, logits in zip(texts, together, strict=True):
        alone = exit.logits(ids)
        assert np.isnan(logits).all() if alone is None else (logits == alone).all()


def test_many_long_texts_of_many_labels_take_little_memory() -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.integers(0, 500, 1 << BITS).astype(np.uint16), rng.integers(-127, 128, (500, 1000))
    exit = Exit(rows, weights.astype(np.int8), 0.25, 1.0)
    texts = [rng.integers(0, 30_000, n).tolist() for n in [128] * 200 + [0, 1, 2, 3, 5, 8, 0] * 8]
    tracemalloc.start()
    together = exit.logits_of_many(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # of one step for all: 390 MB
    for ids, logits in zip(texts, together, strict=True):
        alone = exit.logits(ids)
        assert np.isnan(logits).all() if alone is None else (logits == alone).all()


@given(IDS.filter(bool))
def test_logits_are_the_mean_weights_of_the_known_n_grams_times_the_root_of_their_number(ids: list[int]) -> None:
    exit = model()
    rows = exit.rows[buckets(ids)]
    expected = sum(exit.weights[row].astype(float) for row in rows) * 0.25 / np.sqrt(len(rows))
    logits = exit.logits(ids)
    assert logits is not None
    assert logits == pytest.approx(expected)


def test_a_text_of_more_unknown_n_grams_than_allowed_gets_no_answer() -> None:
    ids = [1, 2, 3, 4]
    rows = np.zeros(1 << BITS, np.uint16)
    rows[buckets(ids)[:6]] = 1
    known = model()
    for limit, answers in ((0.34, True), (0.32, False)):
        exit = Exit(rows, known.weights, 0.25, limit)
        assert exit.unknown(ids) == pytest.approx(1 / 3)
        assert (exit.logits(ids) is not None) is answers
    assert Exit(rows, known.weights, 0.25, 1.0).logits([]) is None


def test_what_is_read_back_is_what_was_written_and_the_bytes_depend_on_nothing_else() -> None:
    exit = model(1, 0.4)
    back = Exit.from_bytes(exit.to_bytes(), LABELS)
    assert (back.scale, back.most_unknown) == (0.25, 0.4)
    assert back.logits([5, 6, 7]).tolist() == exit.logits([5, 6, 7]).tolist()  # type: ignore[union-attr]
    assert exit.to_bytes() == model(1, 0.4).to_bytes()


@pytest.mark.parametrize(
    ("content", "labels", "message"),
    [
        (b"", LABELS, "cannot be read"),
        (b"PK\x03\x04 no archive", LABELS, "cannot be read"),
        (model().to_bytes()[:-40], LABELS, "cannot be read"),
        (model().to_bytes(), LABELS + 1, "expected int8"),
        (Exit(np.zeros(8, np.uint16), model().weights, 1.0, 1.0).to_bytes(), LABELS, "expected uint16"),
        (Exit(model().rows + np.uint16(9), model().weights, 1.0, 1.0).to_bytes(), LABELS, "expected int8"),
        (Exit(model().rows, model().weights, float("nan"), 1.0).to_bytes(), LABELS, "expected a scale"),
    ],
)
def test_a_file_that_is_no_exit_of_this_bundle_is_refused(content: bytes, labels: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exit.from_bytes(content, labels)
