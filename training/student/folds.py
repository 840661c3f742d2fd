"""What cheap heads on the frozen encoder say of rows that they have not seen: how far the labels agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from training.data.rows import Row
from training.evaluation.statistics import selective_risk
from training.student.mixture import mixture
from training.student.probe import fit_head

FOLDS = 4
SHARES = (0.0, 0.2, 0.4, 0.6)


def folds(rows: Sequence[Row], seed: int = 0, count: int = FOLDS) -> np.ndarray:
    """A fold for every row, shape (rows,): near-duplicates are in one, and every intent is spread over all of them."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(f"group {row.group}" if row.group else str(i), []).append(i)
    order = np.random.default_rng(seed).permutation(len(groups))
    members = list(groups.values())
    dealt = sorted(order.tolist(), key=lambda j: rows[members[j][0]].label)
    found = np.zeros(len(rows), int)
    for place, j in enumerate(dealt):
        found[members[j]] = place % count
    return found


def out_of_fold(
    rows: Sequence[Row],
    features: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    names: torch.Tensor,
    decay: float,
    count: int = FOLDS,
) -> np.ndarray:
    """Probabilities by a linear head alone (0) and by the centres alone (1) that have not seen the row.

    Shape (2, rows, labels); the shapes of the arguments are those of `mixture` and of `fit_probe`.
    """
    fold, out = folds(rows, count=count), np.stack([target.numpy()] * 2)
    for i in range(count):
        seen, new = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        if len(seen) and len(new):
            known = features[seen], target[seen], weight[seen]
            out[:, new] = by_heads(*known, names, decay, features[new])
    return out


@torch.no_grad()
def by_heads(
    features: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor,
    names: torch.Tensor,
    decay: float,
    new: torch.Tensor,
) -> np.ndarray:
    """What heads that were fitted to some rows say of `new` embeddings, shape (2, new, labels), as in `out_of_fold`."""
    head = nn.Linear(features.shape[1], target.shape[1])
    with torch.enable_grad():
        fit_head(head, features, target, weight, decay)
    made = mixture(head, features, target * weight[:, None], names, 0.0)
    out = np.empty((2, len(new), target.shape[1]), dtype=np.float32)
    for share in (0, 1):
        made.share.fill_(share)
        out[share] = made(new).exp().numpy()
    return out


@dataclass(frozen=True)
class Opinion:
    """What the rows say of each other: the best share of the class centres, and how many labels agree."""

    share: float = 0.0
    agreement: float = 1.0


def opinion(unseen: np.ndarray, target: np.ndarray) -> Opinion:
    """Weigh labels against what the other rows say. `unseen` is `out_of_fold`'s, `target` has shape (rows, labels).

    The share is the one under which answers rank best: with the smallest area under risk-coverage.
    """
    wanted = target.argmax(1)
    mixed = [(1 - share) * unseen[0] + share * unseen[1] for share in SHARES]
    best = int(np.argmin([selective_risk(said.max(1), said.argmax(1) == wanted).mean() for said in mixed]))
    return Opinion(SHARES[best], float((mixed[best].argmax(1) == wanted).mean()))
