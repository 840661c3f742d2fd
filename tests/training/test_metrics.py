import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from training.evaluation.metrics import Accuracy, Auroc, CalibrationError, PerClass, compute


@given(st.integers(0, 2**32 - 1))
def test_metrics_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted, reference = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    found = compute(PerClass, predicted, reference, classes=4)
    expected = precision_recall_fscore_support(reference, predicted, labels=range(4), zero_division=0)
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert found[name] == pytest.approx(list(values))
    assert compute(Accuracy, predicted, reference)["accuracy"] == pytest.approx((predicted == reference).mean())
    scores, positive = rng.integers(0, 9, 60) / 9, rng.random(60) < 0.5
    positive[:2] = True, False
    assert compute(Auroc, scores, positive)["auroc"] == pytest.approx(roc_auc_score(positive, scores))


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
