"""The early exit: a linear model on a text's token n-grams that answers easy texts before the student runs.

Its features are the text's own tokens, pairs of neighbours, and pairs with one token between them, all hashed into
buckets. An n-gram that was too rare in training is unknown and says nothing. Training hashes with `buckets` too.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

BITS = 17
AT_ONCE = 1 << 16  # weights that are added up in one step: more leave the processor's cache, and are slower
_SHIFT = np.uint64(64 - BITS)
_ONE, _NEXT, _SECOND, _APART, _MIX = (
    np.uint64(odd)
    for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 0xD6E8FEB86659FD93)
)
_FOLD = np.uint64(32)


def _places(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the n-grams of `n` tokens, the places of the first and the last token; the latter's factor and what is added.

    First every token, then every pair of neighbours, then every pair with one token between.
    """
    counts = [n, max(n - 1, 0), max(n - 2, 0)]
    first = np.concatenate([np.arange(count) for count in counts])
    apart = np.repeat(np.arange(3), counts)
    factors, added = np.array([0, _NEXT, _SECOND], np.uint64), np.array([0, 0, _APART], np.uint64)
    return first, first + apart, factors[apart], added[apart]


_SHORT = [_places(n) for n in range(65)]  # every text has so few numpy calls only where these are at hand


def buckets(ids: Sequence[int]) -> np.ndarray:
    """The buckets of a text's n-grams from its token ids: integers in [0, 2^BITS), shape (n-grams,).

    First every token, then every pair of neighbours, then every pair with one token between.
    """
    n = len(ids)
    tokens = np.fromiter(ids, np.uint64, n)
    first, last, factor, added = _SHORT[n] if n < len(_SHORT) else _places(n)
    hashed, other = tokens.take(first), tokens.take(last)
    hashed *= _ONE
    other *= factor
    other += added
    hashed += other
    hashed ^= hashed >> _FOLD
    hashed *= _MIX
    hashed >>= _SHIFT
    return hashed


def buckets_of_many(texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The buckets of several texts' n-grams, and the text of each, in the order of the texts: shape (n-grams,)."""
    lengths = np.array([len(ids) for ids in texts], dtype=np.intp)
    tokens = np.fromiter(chain.from_iterable(texts), np.uint64, int(lengths.sum()))
    text = np.repeat(np.arange(len(texts)), lengths)
    first = tokens * _ONE
    hashed, owner = [first], [text]
    for apart, other in ((1, tokens * _NEXT), (2, tokens * _SECOND + _APART)):
        same = text[:-apart] == text[apart:]
        hashed.append((first[:-apart] + other[apart:])[same])
        owner.append(text[apart:][same])
    found, whose = np.concatenate(hashed), np.concatenate(owner)
    found ^= found >> _FOLD
    found *= _MIX
    order = np.argsort(whose, kind="stable")
    return (found >> _SHIFT)[order], whose[order]


def _steps(sizes: np.ndarray, most: int) -> Iterator[slice]:
    """Neighbours whose sizes are `most` together, or less; one of them alone may have more."""
    ends, first = sizes.cumsum(), 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] - sizes[first] + most, side="right")))
        yield slice(first, last)
        first = last


@dataclass(frozen=True, eq=False)
class Exit:
    """The linear model, immutable.

    `rows` has the row of `weights` for every bucket, uint16 of shape (2^BITS,), 0 where it is unknown; `weights` are
    int8 of shape (rows, labels), `scale` is what one unit of them counts in logits. A text of which a larger share than
    `most_unknown` is unknown n-grams is not answered.
    """

    rows: np.ndarray
    weights: np.ndarray
    scale: float
    most_unknown: float
    _counting: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # One more column, whose sum over a text's n-grams is how many of them are known.
        known = np.ones((len(self.weights), 1), np.int8)
        known[:1] = 0
        object.__setattr__(self, "_counting", np.hstack([self.weights, known]))
        object.__setattr__(self, "weights", self._counting[:, :-1])

    def unknown(self, ids: Sequence[int]) -> float:
        """The share of a text's n-grams that training hardly ever saw; 1 of no tokens."""
        rows = self.rows[buckets(ids)]
        return 1 - float(np.count_nonzero(rows)) / len(rows) if len(rows) else 1.0

    def logits(self, ids: Sequence[int]) -> np.ndarray | None:
        """Logits of all labels, float64 of shape (labels,); None for a text that is too new to answer."""
        rows = self.rows.take(buckets(ids))
        n = len(rows)
        total = np.add.reduce(self._counting.take(rows, axis=0), axis=0, dtype=np.int32)
        if n - total[-1] > self.most_unknown * n or not n:
            return None
        return np.asarray(total[:-1] * (self.scale / n**0.5))

    def logits_of_many(self, texts: Sequence[Sequence[int]]) -> np.ndarray:
        """The same of several texts at once, shape (texts, labels); not a number for those too new to answer."""
        found, text = buckets_of_many(texts)
        rows = self.rows[found]
        n = np.bincount(text, minlength=len(texts))
        logits = np.full((len(texts), self.weights.shape[1]), np.nan)
        some, ends = np.flatnonzero(n), n.cumsum()
        for step in _steps(n[some], AT_ONCE // self.weights.shape[1]):
            these = some[step]
            total = self._sums(rows[ends[these[0]] - n[these[0]] : ends[these[-1]]], n[these])
            roots = np.array([k**0.5 for k in n[these].tolist()])  # rounded as in `logits`: np.sqrt may differ
            logits[these] = total[:, :-1] * (self.scale / roots)[:, None]
            logits[these[n[these] - total[:, -1] > self.most_unknown * n[these]]] = np.nan
        return logits

    def _sums(self, rows: np.ndarray, n: np.ndarray) -> np.ndarray:
        """The weights of texts' n-grams, added up by text, and how many are known: int32 of shape (texts, labels + 1).

        Each has `n` > 0 n-grams.
        """
        weights = self._counting.take(rows, axis=0)
        if len(n) == 1:  # `reduceat` makes a copy as int32 first
            return np.asarray(np.add.reduce(weights, axis=0, keepdims=True, dtype=np.int32))
        return np.asarray(np.add.reduceat(weights, n.cumsum() - n, axis=0, dtype=np.int32))

    def to_bytes(self) -> bytes:
        """The content of the bundle's file; the same model has the same bytes."""
        file = io.BytesIO()
        numbers = np.array([self.scale, self.most_unknown])
        np.savez_compressed(file, rows=self.rows, weights=np.ascontiguousarray(self.weights), numbers=numbers)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, labels: int) -> Exit:
        """Read what `to_bytes` wrote. Raises ValueError if it is no exit for so many labels."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                rows, weights, numbers = file["rows"], file["weights"], file["numbers"]
        except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"it cannot be read: {error}") from error
        if (rows.shape, rows.dtype) != ((1 << BITS,), np.dtype(np.uint16)):
            raise ValueError(f"it has {rows.dtype} rows of shape {rows.shape}, expected uint16 of ({1 << BITS},)")
        if weights.ndim != 2 or weights.dtype != np.int8 or rows.max() >= len(weights) or weights.shape[1] != labels:
            raise ValueError(
                f"it has {weights.dtype} weights of shape {weights.shape}, expected int8 for {labels} labels"
            )
        if numbers.shape != (2,) or not np.isfinite(numbers).all():
            raise ValueError(f"its numbers are {numbers}, expected a scale and a share")
        return cls(rows, weights, float(numbers[0]), float(numbers[1]))
