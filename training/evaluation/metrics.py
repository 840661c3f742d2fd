"""Metrics as local `evaluate` modules: the hub's own are scripts that are fetched at run time and fail offline."""

from __future__ import annotations

from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support, roc_auc_score

_DESCRIPTION = "Computed locally; nothing is fetched."


class _Metric(evaluate.Metric):
    """A metric over predicted and reference class indices."""

    columns: ClassVar = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION, citation="", inputs_description="", features=datasets.Features(self.columns)
        )


class Accuracy(_Metric):
    """Share of predictions that equal the reference."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class PerClass(_Metric):
    """Precision, recall, F1 and support per class, macro-F1 over the classes that occur, and the confusion matrix.

    A class that was never predicted has precision 0; `confusion[i][j]` counts references i predicted as j.
    """

    def _compute(self, predictions: Any, references: Any, classes: int) -> dict[str, Any]:
        labels = range(classes)
        precision, recall, f1, support = precision_recall_fscore_support(
            references, predictions, labels=labels, zero_division=0
        )
        return {
            "precision": precision.tolist(),
            "recall": recall.tolist(),
            "f1": f1.tolist(),
            "support": support.tolist(),
            "macro_f1": float(f1[support > 0].mean()),
            "confusion": confusion_matrix(references, predictions, labels=labels).tolist(),
        }


class CalibrationError(_Metric):
    """Expected calibration error over 15 bins of equal mass (Nguyen and O'Connor 2015), and the bins themselves.

    `predictions` are confidences, `references` are 1 where the answer was right.
    """

    columns: ClassVar = {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}

    def _compute(self, predictions: Any, references: Any, bins: int = 15) -> dict[str, Any]:
        confidence, right = np.asarray(predictions), np.asarray(references)
        parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
        rows = [(float(confidence[p].mean()), float(right[p].mean()), len(p)) for p in parts]
        error = sum(abs(mean - accuracy) * count for mean, accuracy, count in rows) / len(confidence)
        return {"calibration_error": float(error), "bins": rows}


class Auroc(_Metric):
    """Area under the ROC curve: the chance that a positive scores above a negative, a tie counting half."""

    columns: ClassVar = {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"auroc": float(roc_auc_score(references, predictions))}


def compute(metric: type[_Metric], predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
    """Run one metric in memory."""
    module = metric(keep_in_memory=True)
    return dict(module.compute(predictions=predictions, references=references, **options))
