"""Which training labels deserve a second opinion: those that the rest of the data speaks against.

Confident learning (Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels") as
the library cleanlab has it, on out-of-fold probabilities of the student as it starts: its frozen encoder under logistic
regression. Only rows of the train split are ever asked about again: choosing calibration or test rows by what a student
thinks of them would break the certificate.
"""

from __future__ import annotations

import collections
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.common import jsonl
from training.data import dataset
from training.data.rows import Row
from training.labelling.queries import Query
from training.student.config import Config

FOLDS = 5
STRENGTHS = (1.0, 0.1, 0.01, 0.001)


def check_second_opinion(base: str = Config().base) -> None:
    """See that second opinions can be chosen, before the first ones are paid for.

    Raises ModuleNotFoundError where a package is missing, ValueError where the base model is not as it should be.
    """
    for name in ("cleanlab.filter", "sklearn.linear_model"):
        importlib.import_module(name)
    from training.student.model import resolve_base

    resolve_base(base)


def second_opinions(labels: Path, queries: Sequence[Query]) -> tuple[Query, ...]:
    """The queries of `labels`, an output of training.label, whose label looks wrong, to be asked about again.

    The file's rows are split as `python -m training.train` would split them, and the splits remembered beside it. None
    where all labels are the same. Raises ValueError if the rows cannot be trained on.
    """
    if len({row["label"] for _, row in jsonl.read(labels) if row.get("label")}) < 2:
        return ()
    rows = dataset.load(str(labels), whole=False).split("train")
    doubted = {row.key for row in doubtful(rows)}
    return tuple(replace(query, opinion=2) for query in queries if query.id in doubted)


def doubtful(rows: Sequence[Row], base: str = Config().base) -> list[Row]:
    """The rows whose label looks wrong, most suspect first. Intents with fewer than five rows are left alone."""
    from cleanlab.filter import find_label_issues

    found = out_of_fold(rows, base)
    if found is None:
        return []
    issues = find_label_issues(found.given, found.probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [rows[found.rows[i]] for i in issues]


@dataclass(frozen=True)
class OutOfFold:
    """What a model that has not seen a row says of it.

    `rows` are the places of the rows, `given` the numbers of their labels among `names`, shape (rows,), and
    `probabilities` have the shape (rows, names).
    """

    rows: list[int]
    names: list[str]
    given: np.ndarray
    probabilities: np.ndarray


def out_of_fold(rows: Sequence[Row], base: str) -> OutOfFold | None:
    """For the rows of intents that have one for every fold; None where these are fewer than two intents."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    counts = collections.Counter(row.label for row in rows)
    kept = [i for i, row in enumerate(rows) if counts[row.label] >= FOLDS]
    names = sorted({rows[i].label for i in kept})
    if len(names) < 2:
        return None
    given = np.array([names.index(rows[i].label) for i in kept])
    known = features([rows[i] for i in kept], base)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    model = _regression(_strength(known, given))
    said = np.asarray(cross_val_predict(model, known, given, cv=folds, method="predict_proba"))
    return OutOfFold(kept, names, given, said)


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=1000, tol=1e-3)


def _strength(known: np.ndarray, given: np.ndarray) -> float:
    """How free the regression is, chosen on a fifth of the rows: what suits 150 intents makes five overconfident."""
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    fit, held = train_test_split(np.arange(len(given)), test_size=1 / FOLDS, stratify=given, random_state=0)

    def loss(strength: float) -> float:
        model = _regression(strength).fit(known[fit], given[fit])
        return float(log_loss(given[held], model.predict_proba(known[held]), labels=model.classes_))

    return min(STRENGTHS, key=loss)


def features(rows: Sequence[Row], base: str) -> np.ndarray:
    """Frozen embeddings of the base model: shape (rows, hidden)."""
    from training.student import model as students
    from training.student.probe import embeddings

    labels = sorted({row.label for row in rows})
    student, tokenizer = students.load_base(students.resolve_base(base), labels, Config().max_tokens)
    items = students.encode(rows, student, tokenizer, 0.0)
    return embeddings(student, items, students.Collator(tokenizer)).numpy()
