"""Fit the early exit: logistic regression on hashed token n-grams, distilled from the student's own answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax

from inference.bundle.exit import BITS, Exit, buckets

FEWEST_TEXTS = 2  # that an n-gram is in: of one text it would be near to carrying the text
MOST_BYTES = 1 << 22  # of weights
PASSES, RATE = 3, 0.2  # Adagrad's, one step size per n-gram
LEAST_BATCH, MOST_BATCH, STEPS = 16, 256, 100  # a pass has so many steps where the batch lies between
BEGIN = 1e-3  # what the squared gradients are taken to have been
KNOWN_SHARE = 0.99  # of dev's texts, that have no more unknown n-grams than is allowed


def fit(
    ids: Sequence[Sequence[int]], target: np.ndarray, weight: np.ndarray, source: np.ndarray, seed: int = 0
) -> Exit:
    """Fit to tokenized texts.

    `target` are their distributions over the labels, float32 of shape (texts, labels), `weight` has shape (texts,);
    `source`, integers of shape (texts,), says which are copies of one text. Deterministic. The n-grams that most texts
    have are known, as many as fit.
    """
    found = [buckets(one) for one in ids]
    rows, known = _rows(found, source, MOST_BYTES // target.shape[1])
    features = _features([rows[one] for one in found], known + 1)
    weights = _logistic(features, target.astype(np.float32), weight.astype(np.float32), seed)
    unit = max(float(np.abs(weights).max()), 1e-6) / 127
    return Exit(rows, np.round(weights / unit).astype(np.int8), unit, 1.0)


def tuned(model: Exit, dev_ids: Sequence[Sequence[int]], temperature: float) -> Exit:
    """The same with calibrated probabilities, and with the limit of unknown n-grams that nearly all of dev keeps."""
    most = float(np.quantile([model.unknown(one) for one in dev_ids], KNOWN_SHARE))
    return Exit(model.rows, model.weights, model.scale / temperature, most)


def _rows(found: Sequence[np.ndarray], source: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """The row of every bucket, from 1, and how many there are."""
    pairs = [int(text) << BITS | np.unique(one).astype(np.int64) for text, one in zip(source, found, strict=True)]
    texts = np.bincount(np.unique(np.concatenate(pairs)) & ((1 << BITS) - 1), minlength=1 << BITS)
    known = np.flatnonzero(texts >= FEWEST_TEXTS)
    known = np.sort(known[np.argsort(-texts[known], kind="stable")[: min(most, np.iinfo(np.uint16).max) - 1]])
    rows = np.zeros(1 << BITS, np.uint16)
    rows[known] = np.arange(1, len(known) + 1)
    return rows, len(known)


def _features(found: Sequence[np.ndarray], width: int) -> csr_array:
    """Texts as rows whose entries have the length 1 together; the first column stands for all that is unknown."""
    lengths = np.array([len(one) for one in found])
    values = np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
    places = np.concatenate([[0], lengths.cumsum()])
    return csr_array((values, np.concatenate(found).astype(np.int32), places), shape=(len(found), width))


def _logistic(features: csr_array, target: np.ndarray, weight: np.ndarray, seed: int) -> np.ndarray:
    """Weights of shape (columns, labels). Those of the first column stay 0."""
    weights = np.zeros((features.shape[1], target.shape[1]), np.float32)
    squares = np.full((features.shape[1], 1), BEGIN, np.float32)
    rng, texts = np.random.default_rng(seed), len(target)
    size = min(max(texts // STEPS, LEAST_BATCH), MOST_BATCH)
    steps = -(-PASSES * texts // size)
    order = np.concatenate([rng.permutation(texts) for _ in range(PASSES)])
    for step in range(steps):
        batch = order[step * size : (step + 1) * size]
        some = features[batch]
        columns, places = np.unique(some.indices, return_inverse=True)
        some = csr_array((some.data, places, some.indptr), shape=(len(batch), len(columns)))
        error = (softmax(some @ weights[columns], axis=1) - target[batch]) * weight[batch, None]
        slope = some.T @ error
        squares[columns] += np.square(slope).mean(1, keepdims=True)
        weights[columns] -= RATE * (1 - step / steps) * slope / np.sqrt(squares[columns])
        weights[0] = 0
    return weights
