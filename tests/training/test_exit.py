import numpy as np
import pytest

from inference.bundle.exit import BITS, buckets
from training.student.exit import fit, tuned

RNG = np.random.default_rng(0)
# Three labels; the token 1000 + label decides, among tokens that say nothing.
LABELS = np.arange(600) % 3
IDS = [[101, *RNG.integers(5, 60, 6).tolist(), 1000 + int(label)] for label in LABELS]
TARGET = np.eye(3, dtype=np.float32)[LABELS]
WEIGHT, SOURCE = np.ones(len(IDS)), np.arange(len(IDS))


def test_it_learns_what_decides_and_its_sure_answers_are_right() -> None:
    model = fit(IDS, TARGET, WEIGHT, SOURCE)
    new = [[101, *RNG.integers(5, 60, 6).tolist(), 1000 + int(label)] for label in LABELS[:90]]
    said = np.array([model.logits(one) for one in new])
    right = said.argmax(1) == LABELS[:90]
    assert right.mean() > 0.9
    assert right[np.argsort(-said.max(1))[:60]].all()


def test_the_same_rows_make_the_same_file() -> None:
    assert fit(IDS, TARGET, WEIGHT, SOURCE).to_bytes() == fit(IDS, TARGET, WEIGHT, SOURCE).to_bytes()


def test_an_n_gram_of_a_single_text_and_its_noisy_copy_stays_unknown() -> None:
    odd, texts = [101, 20_000, 20_001], len(IDS) + 2
    source = np.append(SOURCE, [len(IDS)] * 2)
    model = fit([*IDS, odd, odd], np.concatenate([TARGET, TARGET[:2]]), np.ones(texts), source)
    assert model.rows[buckets([20_000])[0]] == 0
    assert model.rows[buckets([101])[0]] > 0
    assert (model.weights[0] == 0).all()


def test_the_commonest_n_grams_are_known_where_not_all_of_them_fit() -> None:
    wide = np.zeros((len(IDS), 1 << 13), np.float32)
    wide[np.arange(len(IDS)), LABELS] = 1
    model = fit(IDS, wide, WEIGHT, SOURCE)
    assert model.weights.nbytes <= 1 << 22
    assert model.rows[buckets([101])[0]] > 0
    assert len(model.rows) == 1 << BITS


def test_a_row_without_weight_teaches_nothing() -> None:
    wrong = np.roll(TARGET, 1, axis=1)
    weight = np.concatenate([WEIGHT, 0 * WEIGHT])
    model = fit([*IDS, *IDS], np.concatenate([TARGET, wrong]), weight, np.tile(SOURCE, 2))
    said = np.array([model.logits(one) for one in IDS[:90]])
    assert (said.argmax(1) == LABELS[:90]).mean() > 0.95


def test_the_temperature_divides_the_logits_and_nearly_all_of_dev_is_known_enough() -> None:
    model = fit(IDS, TARGET, WEIGHT, SOURCE)
    half = tuned(model, IDS[:100], 2.0)
    assert half.logits(IDS[0]) == pytest.approx(model.logits(IDS[0]) / 2)  # type: ignore[operator]
    assert sum(half.unknown(one) <= half.most_unknown for one in IDS[:100]) >= 99
    assert half.logits([30_000, 30_001, 30_002]) is None
