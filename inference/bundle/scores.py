"""Probabilities out of logits, and which are the largest."""

from __future__ import annotations

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis; each row of several is exactly what it is alone."""
    # The methods `max` and `sum` say the same, in Python first.
    exponents = np.exp(logits - np.maximum.reduce(logits, axis=-1, keepdims=True))
    return np.asarray(exponents / np.add.reduce(exponents, axis=-1, keepdims=True))


def largest(scores: np.ndarray, count: int) -> list[int]:
    """The places of the largest scores, the largest first and of equal ones the first: a few need no sorting."""
    left, order = scores.copy(), []
    for _ in range(min(count, len(left))):
        order.append(int(left.argmax()))
        left[order[-1]] = -1.0
    return order
