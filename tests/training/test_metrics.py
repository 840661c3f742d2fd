import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.metrics import Accuracy, Auroc, CalibrationError, PerClass, compute


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_metrics_are_what_counting_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, reference = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    found = compute(PerClass, predicted, reference, classes=6)
    confusion = np.array([[((reference == i) & (predicted == j)).sum() for j in range(6)] for i in range(6)])
    hits, support, given_out = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    f1 = 2 * hits / np.maximum(support + given_out, 1)
    assert found["confusion"] == confusion.tolist()
    assert found["support"] == support.tolist()
    assert found["precision"] == pytest.approx(hits / np.maximum(given_out, 1))
    assert found["recall"] == pytest.approx(hits / np.maximum(support, 1))
    assert found["f1"] == pytest.approx(f1)
    assert found["macro_f1"] == pytest.approx(f1[support > 0].mean())
    assert compute(Accuracy, predicted, reference)["accuracy"] == pytest.approx((predicted == reference).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_area_is_the_chance_that_a_positive_scores_above_a_negative(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, positive = rng.integers(0, 9, 60) / 9, rng.random(60) < 0.5
    positive[:2] = True, False
    above = scores[positive][:, None] - scores[~positive]
    assert compute(Auroc, scores, positive)["auroc"] == pytest.approx(((above > 0) + (above == 0) / 2).mean())


def test_a_class_that_does_not_occur_leaves_macro_f1_alone() -> None:
    assert compute(PerClass, [0, 1], [0, 1], classes=5)["macro_f1"] == 1.0


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    confidence = np.full(1000, 0.8)
    right = np.arange(1000) % 2 == 0
    found = compute(CalibrationError, confidence, right)
    assert found["calibration_error"] == pytest.approx(0.3, abs=0.01)
    assert sum(count for _, _, count in found["bins"]) == 1000
    rng = np.random.default_rng(0)
    confidence = rng.random(50_000)
    assert compute(CalibrationError, confidence, rng.random(50_000) < confidence)["calibration_error"] < 0.02
