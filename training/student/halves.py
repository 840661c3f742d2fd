"""Students of a part of the rows, judged on the rest: what training would make of them, many times over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import softmax
from torch import nn

from training.data.rows import Row
from training.evaluation.calibrate import fit_temperature
from training.student.config import Config
from training.student.folds import by_heads, opinion, out_of_fold
from training.student.model import name_as_text
from training.student.probe import fit_probe
from training.student.targets import Target, dense

Features = Callable[[Sequence[Row]], np.ndarray]
LEAST = 1e-30


@dataclass(frozen=True)
class Answers:
    """What students say of rows that they have not seen: arrays of shape (rows,).

    `rows` are the rows' places, `given` and `said` the numbers of their labels and of the students' answers.
    """

    rows: np.ndarray
    given: np.ndarray
    said: np.ndarray
    confidence: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return self.said == self.given


@dataclass(frozen=True)
class Known:
    """Rows with their frozen embeddings; `names` are the embeddings of the intents' names."""

    rows: tuple[Row, ...]
    features: torch.Tensor
    target: torch.Tensor
    weight: torch.Tensor
    names: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], labels: Sequence[str], features: Features) -> Known:
        """Embed the rows, and what training adds to them."""
        named = [Row(label, name_as_text(label), label) for label in labels]
        vectors = torch.tensor(features([*rows, *named]), dtype=torch.float32)
        index = {label: i for i, label in enumerate(labels)}
        target = torch.from_numpy(dense([Target.of(row, index, Config.label_smoothing) for row in rows]))
        weight = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        return cls(tuple(rows), vectors[: len(rows)], target, weight, vectors[len(rows) :])

    @property
    def given(self) -> np.ndarray:
        return self.target.numpy().argmax(1)


@dataclass(frozen=True)
class Recipe:
    """How a student is fitted: the weight decay of its linear head, and the share of the class centres."""

    decay: float
    share: float

    @classmethod
    def chosen(cls, known: Known, seen: np.ndarray) -> Recipe:
        """What training chooses for the rows `seen`."""
        features, target, weight = (part[seen] for part in (known.features, known.target, known.weight))
        decay = fit_probe(nn.Linear(features.shape[1], target.shape[1]), features, target, weight)
        rows = [known.rows[i] for i in seen]
        unseen = out_of_fold(rows, features, target, weight, known.names, decay)
        return cls(decay, opinion(unseen, target.numpy()).share)

    def answers(self, known: Known, seen: np.ndarray, new: np.ndarray) -> Answers:
        """What a student of the rows `seen` says of the rows `new`."""
        part = (known.features[seen], known.target[seen], known.weight[seen])
        return self._answers(known, new, by_heads(*part, known.names, self.decay, known.features[new]))

    def cross_validated(self, known: Known, judging: np.ndarray, folds: int) -> Answers:
        """What students that have not seen a row's fold say of it, for the rows `judging`."""
        part = (known.features, known.target, known.weight)
        unseen = out_of_fold(known.rows, *part, known.names, self.decay, folds)
        return self._answers(known, judging, unseen[:, judging])

    def _answers(self, known: Known, new: np.ndarray, heads: np.ndarray) -> Answers:
        logits = np.log(np.maximum((1 - self.share) * heads[0] + self.share * heads[1], LEAST)).astype(float)
        given = known.given[new]
        logits /= fit_temperature(logits, given)
        return Answers(new, given, logits.argmax(1), softmax(logits, axis=1).max(1))


def parts(groups: np.ndarray, size: int, count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`count` random divisions of rows: the places of those in `size` of the groups, and of the others.

    `groups` has each row's group, numbered from 0, shape (rows,).
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        order = rng.permutation(groups.max() + 1)
        inside = np.isin(groups, order[:size])
        yield np.flatnonzero(inside), np.flatnonzero(~inside)
