"""The linear probe that the student's head starts from: logistic regression on the frozen encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

if TYPE_CHECKING:
    from training.student.model import Collator, Item, Student

PROBE_STEPS = 60
PROBE_DECAYS = (3e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)
PROBE_ROWS = 5000


def batches_by_length(items: Sequence[Item], size: int) -> Iterator[list[int]]:
    """Indices of `items`, `size` at a time, neighbours of like length so that padding is rare."""
    order = sorted(range(len(items)), key=lambda i: len(items[i]["input_ids"]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


@torch.no_grad()
def embeddings(student: Student, items: Sequence[Item], collate: Collator) -> torch.Tensor:
    """Frozen embeddings, shape (rows, hidden)."""
    student.eval()
    out = torch.empty(len(items), student.head.in_features)
    for index in tqdm(list(batches_by_length(items, 64)), "embedding", unit="batch", leave=False, disable=None):
        batch = collate([items[i] for i in index])
        out[index] = student.embed(batch["input_ids"], batch["attention_mask"]).float()
    return out


def fit_probe(head: nn.Linear, features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> float:
    """Start the head from multinomial logistic regression on the frozen embeddings; return the weight decay chosen.

    `features` has shape (rows, hidden), `target` (rows, labels), `weight` (rows,). The decay is the one that fits
    held-out rows best: a few hundred rows need a hundred times as much as ten thousand.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:PROBE_ROWS]
    held, fit = order[: len(order) // 5], order[len(order) // 5 :]
    losses = []
    for decay in PROBE_DECAYS if len(held) else ():
        fit_head(head, features[fit], target[fit], weight[fit], decay)
        losses.append(_head_loss(head, features[held], target[held], weight[held]).item())
    best = PROBE_DECAYS[int(np.argmin(losses))] if losses else PROBE_DECAYS[-1]
    fit_head(head, features, target, weight, best)
    return best


def _head_loss(head: nn.Linear, features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (nn.functional.cross_entropy(head(features), target, reduction="none") * weight).mean()


def fit_head(head: nn.Linear, features: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, decay: float) -> None:
    """Fit `head` to rows by multinomial logistic regression with a given weight decay."""
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimiser: Any = torch.optim.LBFGS(head.parameters(), max_iter=PROBE_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        total = _head_loss(head, features, target, weight) + decay * head.weight.square().sum()
        total.backward()
        return total

    optimiser.step(loss)
