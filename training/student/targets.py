"""What a row is to be answered with: few intents have a share, so that only these are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training.data.rows import Row

CELLS = 50_000_000  # rows times intents of which a head takes all at once


class Target(NamedTuple):
    """A distribution over `width` intents: `shares` for `intents`, and `floor` for each of the others."""

    intents: tuple[int, ...]
    shares: tuple[float, ...]
    floor: float
    width: int

    @classmethod
    def of(cls, row: Row, index: Mapping[str, int], smoothing: float = 0.0) -> Target:
        """The row's vote shares where it has any, else its label alone; `smoothing` is spread over all intents."""
        shares = row.shares or {row.label: 1.0}
        floor = smoothing / len(index)
        smoothed = tuple(share * (1 - smoothing) + floor for share in shares.values())
        return cls(tuple(index[label] for label in shares), smoothed, floor, len(index))

    @property
    def best(self) -> int:
        """The intent with the largest share, the first one of several."""
        return min(zip(self.shares, self.intents, strict=True), key=lambda pair: (-pair[0], pair[1]))[1]


def dense(targets: Sequence[Target]) -> np.ndarray:
    """Distributions of shape (rows, intents), float32."""
    found = np.empty((len(targets), targets[0].width), np.float32)
    for row, target in zip(found, targets, strict=True):
        row.fill(target.floor)
        row[list(target.intents)] = target.shares
    return found
