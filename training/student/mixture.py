"""A head that asks twice: its linear layer, and how near a text is to the centres of every intent.

Averaged with the likeness to class centres, a linear head ranks its own answers better where labels are few or wrong
(docs/LOG.md). The centres are means of several rows: no single text travels in the file. All of it is one matrix
product, for a text's likeness to a centre is linear in the text's embedding but for its length, which hardly varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.functional import normalize, pad

PARTS = 3  # centres of an intent beside its mean
FEWEST_ROWS = 3  # of a centre: fewer would be near to carrying a single text
SHARPNESS_OF_MEANS, SHARPNESS_OF_PARTS = 12.0, 20.0
ROWS_OF_A_NAME = 5.0  # an intent's own name counts as so many rows
FLOOR = 1e-12
LANES = 16  # 32-bit numbers in the widest vector of a processor
DECIMALS = 3  # of embeddings of length 1: what is equal to so many is the same text for clusters


class Mixture(nn.Module):
    """Embeddings of shape (rows, hidden) → log-probabilities of shape (rows, labels).

    `share` is what the likeness to the centres has in the average, a half of it for means and a half for parts.
    """

    def __init__(self, hidden: int, labels: int, share: float) -> None:
        super().__init__()
        self.labels = labels
        self.linear = nn.Linear(hidden, labels * (2 + PARTS))
        self.share: torch.Tensor
        self.register_buffer("share", torch.tensor(share))

    def forward(self, embedded: torch.Tensor) -> torch.Tensor:
        own, means, parts = self.linear(embedded).split([self.labels, self.labels, self.labels * PARTS], -1)
        of_parts = parts.softmax(-1).unflatten(-1, (self.labels, PARTS)).sum(-1)
        near = (means.softmax(-1) + of_parts) / 2
        mixed = FLOOR + (1 - self.share) * own.softmax(-1) + self.share * near
        # Whole vectors of the processor: a logarithm's last bit differs between them and what is left over.
        whole = pad(mixed, (0, -self.labels % LANES), value=1.0)
        return cast(torch.Tensor, whole.log()[..., : self.labels])


@torch.no_grad()
def mixture(
    head: nn.Linear, features: torch.Tensor, target: torch.Tensor, names: torch.Tensor, share: float
) -> Mixture:
    """`head` together with the centres of rows.

    `features` and `names` are embeddings of rows and of the intents' names, shape (rows or labels, hidden), `target`
    the rows' distributions over the intents times their weights, shape (rows, labels). An intent with fewer than
    FEWEST_ROWS rows has its name for a centre.
    """
    features, target = features[target.sum(1) > 0], target[target.sum(1) > 0]
    counts = torch.bincount(target.argmax(1), minlength=head.out_features)
    middle = features.mean(0)
    lengths = (features - middle).norm(dim=-1)
    rows, named = (normalize(some - some.mean(0), dim=-1) for some in (features, names))
    means = normalize((target * (counts >= FEWEST_ROWS)).T @ rows + ROWS_OF_A_NAME * named, dim=-1)
    parts = torch.stack([_parts(rows[target.argmax(1) == i], means[i]) for i in range(len(means))]).flatten(0, 1)
    centres = torch.cat([SHARPNESS_OF_MEANS * means, SHARPNESS_OF_PARTS * parts]) / lengths.mean().clamp(min=FLOOR)
    made = Mixture(head.in_features, head.out_features, share)
    made.linear.weight.copy_(torch.cat([head.weight, centres]))
    made.linear.bias.copy_(torch.cat([head.bias, -(centres @ middle)]))
    return made.eval()


def _parts(rows: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """The centres of an intent's clusters, shape (PARTS, hidden); its mean stands in for each that is too small."""
    found = mean.repeat(PARTS, 1)
    if len(rows.round(decimals=DECIMALS).unique(dim=0)) < PARTS * FEWEST_ROWS:
        return found
    clusters = torch.as_tensor(KMeans(PARTS, n_init=2, random_state=0).fit(rows.double().numpy()).labels_)
    for i in range(PARTS):
        members = rows[clusters == i]
        if len(members) >= FEWEST_ROWS:
            found[i] = normalize(members.mean(0), dim=-1)
    return found


def load(state: dict[str, torch.Tensor], labels: Sequence[str]) -> Mixture:
    """A mixture from its state dictionary."""
    made = Mixture(state["linear.weight"].shape[1], len(labels), 0.0)
    made.load_state_dict(state)
    return made.eval()
