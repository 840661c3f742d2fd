"""Texts as sets of shingles, the short pieces of text by which two are near-duplicates, in arrays for many texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from inference.common.text import query_form

SHINGLE = 4
THRESHOLD = 0.75
PAD = "\udc00"  # ends a text that is shorter than a shingle: half a surrogate pair, which no text of ours holds
BITS = 48  # of a shingle's hash, beside 16 for the number of a text or a pair: one integer sorts by both
MOST = 1 << 16
LETTERS = 1 << 21  # that are looked at at a time
FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)

Array = np.ndarray


def bare(text: str) -> str:
    """The letters and digits of a text, in the form in which queries are compared."""
    form = query_form(text)
    return " ".join(re.findall(r"\w+", form)) or form


def shingles(text: str) -> frozenset[str]:
    """Character 4-grams of the letters and digits; a short text is its own single shingle."""
    letters = bare(text)
    return frozenset(letters[i : i + SHINGLE] for i in range(max(1, len(letters) - SHINGLE + 1)))


@dataclass(frozen=True)
class Sets:
    """The shingles of texts as hashes: those of text i are values[starts[i] : starts[i + 1]], each once, sorted."""

    values: Array
    starts: Array

    @classmethod
    def of(cls, texts: Sequence[str]) -> Sets:
        """The shingles of every text. Two different ones have the same hash in one of 2**48 cases."""
        bar = tqdm(total=len(texts), desc="reading texts for near-duplicates", unit="text", leave=False, disable=None)
        values, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        with bar:
            for part in _parts(map(bare, texts)):
                found, counts = _hashed(part)
                values.append(found)
                sizes.append(counts)
                bar.update(len(part))
        return cls(np.concatenate(values), np.concatenate([[0], np.concatenate(sizes).cumsum()]))

    @property
    def sizes(self) -> Array:
        """How many shingles each text has, shape (texts,)."""
        return np.diff(self.starts)

    def contents(self) -> Array:
        """A hash of each text's set, shape (texts,)."""
        return np.add.reduceat(_mixed(self.values), self.starts[:-1])

    def of_rows(self, rows: Array) -> tuple[Array, Array]:
        """The shingles of some texts one after the other, and for each of them its place in `rows`."""
        sizes = self.sizes[rows]
        return self.values[ranges(self.starts[rows], sizes)], np.repeat(np.arange(len(rows)), sizes)

    def similar(self, one: Array, other: Array) -> Array:
        """Whether the Jaccard similarity of each pair is at least THRESHOLD, shape (pairs,)."""
        a, b = self.sizes[one], self.sizes[other]
        found = np.minimum(a, b) >= THRESHOLD * np.maximum(a, b)
        possible = found.nonzero()[0]
        for part in cut(a[possible] + b[possible], LETTERS, MOST):
            at = possible[part]
            shared = self._shared(one[at], other[at])
            found[at] = shared >= THRESHOLD * (a[at] + b[at] - shared)
        return found

    def _shared(self, one: Array, other: Array) -> Array:
        """How many shingles the two of each pair have in common."""
        keys = [place.astype(np.uint64) << BITS | values for values, place in map(self.of_rows, (one, other))]
        both = np.concatenate(keys)
        both.sort()
        twice = both[1:][both[1:] == both[:-1]] >> BITS
        return np.bincount(twice.astype(np.int64), minlength=len(one))


def ranges(starts: Array, sizes: Array) -> Array:
    """start, start + 1, … for every start, as many as its size says, in one array."""
    before = np.cumsum(sizes) - sizes
    return np.repeat(starts - before, sizes) + np.arange(sizes.sum())


def cut(sizes: Array, most: int, longest: int) -> Iterator[slice]:
    """Slices of `sizes`, at most `longest` long, whose sums are at most `most` unless one alone is larger."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        end = max(start + 1, min(start + longest, int(np.searchsorted(ends, before + most, "right"))))
        yield slice(start, end)
        start = end


def _parts(texts: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    letters = 0
    for text in texts:
        part.append(text)
        letters += len(text)
        if letters >= LETTERS or len(part) == MOST:
            yield part
            part, letters = [], 0
    if part:
        yield part


def _hashed(texts: Sequence[str]) -> tuple[Array, Array]:
    """The hashes of each text's shingles, sorted and each once, and how many these are."""
    texts = [text.ljust(SHINGLE, PAD) for text in texts]
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    rows = np.repeat(np.arange(len(texts), dtype=np.uint64), [len(text) for text in texts])
    inside = rows[: 1 - SHINGLE] == rows[SHINGLE - 1 :]
    hashes = sum(codes[i : len(codes) - SHINGLE + 1 + i] * factor for i, factor in enumerate(FACTORS))
    keys = np.sort(rows[: 1 - SHINGLE][inside] << BITS | _mixed(hashes[inside]) >> (64 - BITS))
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]
    counts = np.bincount((keys >> BITS).astype(np.int64), minlength=len(texts))
    return keys & ((1 << BITS) - 1), counts


def _mixed(values: Array) -> Array:
    """Every bit of the result depends on every bit of the value."""
    values = (values ^ values >> 32) * FACTORS[0]
    values = (values ^ values >> 29) * FACTORS[1]
    return values ^ values >> 32
