"""Which student is kept: the encoder as it came, as it was fine-tuned, or half of each, judged on dev alone.

The mean of a pretrained and a fine-tuned model's weights (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
models") has the speed and the size of either, and is surer of fewer of the teacher's mistakes than the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from training.evaluation.statistics import selective_risk
from training.student.mixture import Mixture, mixture
from training.student.model import Collator, Item, Student
from training.student.probe import embeddings
from training.student.targets import dense

# Shares of the fine-tuned weights; of those that are as good the first is kept. A student that was fine-tuned on wrong
# labels is sure of them, one that was fine-tuned on right ones is the best there is (docs/LOG.md).
WRONG_LABELS, RIGHT_LABELS = (0.5, 1.0, 0.0), (1.0, 0.5, 0.0)
AGREE = 0.9  # of the labels with what the other rows say: with fewer, some are taken for wrong
DRAWS = 200
ERRORS = 1.0  # standard errors within which two are as good
ROWS_OF_AN_INTENT = 30  # whose embeddings make its centres, where the encoder was fine-tuned

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Tried:
    """One student and what dev said of it: `area` is the one under the risk-coverage curve."""

    tuned: float
    centres: float
    accuracy: float
    area: float
    kept: bool = False


@dataclass(frozen=True)
class Judges:
    """Tokenized rows: those that make the centres, those that judge, and the intents' names."""

    train: Sequence[Item]
    dev: Sequence[Item]
    names: Sequence[Item]
    collate: Collator


def choose(
    student: Student, start: State, share: float, judges: Judges, shares_of_tuned: Sequence[float] = WRONG_LABELS
) -> list[dict[str, Any]]:
    """Leave in `student`, which was fine-tuned from the weights `start`, what dev likes best; say what was tried.

    `share` is what the centres have in the answers, as the training rows wanted it; `shares_of_tuned` are the shares of
    the fine-tuned weights that are tried, from the best to begin with.
    """
    end = {name: value.clone() for name, value in student.state_dict().items()}
    train = _some(judges.train)
    wanted = np.array([item["target"].best for item in judges.dev])
    found: list[tuple[Tried, Mixture | None, np.ndarray, np.ndarray]] = []
    for tuned in shares_of_tuned:
        blend(student, start, end, tuned)
        dev = embeddings(student, judges.dev, judges.collate)
        for mixed in (_mixed(student, train, judges, share), None) if share else (None,):
            said = _probabilities(mixed or student.head, dev)
            confidence, correct = said.max(1), said.argmax(1) == wanted
            area = float(selective_risk(confidence, correct).mean())
            tried = Tried(tuned, share if mixed else 0.0, float(correct.mean()), area)
            found.append((tried, mixed, confidence, correct))
    kept = first_as_good([(confidence, correct) for _, _, confidence, correct in found])
    blend(student, start, end, found[kept][0].tuned)
    student.mixture = found[kept][1]
    return [{**vars(tried), "kept": i == kept} for i, (tried, *_) in enumerate(found)]


def in_order(agreement: float) -> tuple[float, ...]:
    """The shares of the fine-tuned weights to try, by how many labels agree with what the other rows say."""
    return RIGHT_LABELS if agreement >= AGREE else WRONG_LABELS


def blend(student: Student, start: State, end: State, tuned: float) -> None:
    """Give the student the weighted mean of two sets of weights."""
    mean = {k: torch.lerp(start[k], end[k], tuned) if end[k].is_floating_point() else end[k] for k in end}
    student.load_state_dict(mean)


def first_as_good(candidates: Sequence[tuple[np.ndarray, np.ndarray]]) -> int:
    """The first candidate whose area under risk-coverage is not larger than the best one's by a standard error.

    Each is its confidences and whether it is right, on the same rows; the error is a paired bootstrap's.
    """
    areas = np.array([_areas(*candidate) for candidate in candidates])
    best = areas[int(areas[:, 0].argmin())]
    worse = areas - best
    as_good = worse[:, 0] <= ERRORS * worse[:, 1:].std(1)
    return int(np.argmax(as_good))


def _areas(confidence: np.ndarray, correct: np.ndarray) -> list[float]:
    """The area on the rows as they are, then on each of DRAWS draws of them."""
    rng, rows = np.random.default_rng(0), len(correct)
    draws = [np.arange(rows), *(rng.integers(0, rows, rows) for _ in range(DRAWS))]
    return [float(selective_risk(confidence[draw], correct[draw]).mean()) for draw in draws]


def _mixed(student: Student, train: Sequence[Item], judges: Judges, share: float) -> Mixture:
    features, names = (embeddings(student, items, judges.collate) for items in (train, judges.names))
    weight = torch.tensor([[item["weight"]] for item in train], dtype=torch.float32)
    target = torch.from_numpy(dense([item["target"] for item in train])) * weight
    return mixture(student.head, features, target, names, share)


@torch.no_grad()
def _probabilities(head: torch.nn.Module, features: torch.Tensor) -> np.ndarray:
    return np.asarray(head(features).softmax(-1).numpy())


def _some(items: Sequence[Item]) -> list[Item]:
    """At most ROWS_OF_AN_INTENT items of each intent, drawn at random."""
    seen: dict[int, int] = {}
    kept = []
    for i in np.random.default_rng(0).permutation(len(items)).tolist():
        intent = items[i]["target"].best
        seen[intent] = seen.get(intent, 0) + 1
        if seen[intent] <= ROWS_OF_AN_INTENT:
            kept.append(items[i])
    return kept
