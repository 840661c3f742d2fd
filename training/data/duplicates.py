"""Near-duplicate texts, in groups: two are in one if a chain of near-duplicates leads from the one to the other.

Groups grow while candidates are looked for, and two texts that are in one group already are never compared: copies of a
template cost no more than other rows. Candidates are first those with a min-hash in common (Broder 1997), of several at
a time (Indyk and Motwani 1998). Up to EXACT texts prefix filtering then finds every pair that is left (Bayardo, Ma and
Srikant 2007, "Scaling up all pairs similarity search"): with shingles ordered from rare to common, two sets can only
reach the threshold if they share one of their first few shingles. With more texts a few pairs are missed (docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from training.data.shingles import SHINGLE, THRESHOLD, Array, Sets, cut, ranges

EXACT = 50_000
FEW = 2_000  # texts: to compare these at once is faster
BANDS, HASHES = 20, 5  # of a pair at the threshold 99.5 % have all HASHES of one of the BANDS in common
NEIGHBOURS = 16  # of the texts that have a band in common each is compared with so many that follow it
PAIRS = 1 << 21  # that are looked at at a time
ROUNDING = 1e-9
METHOD = f"1 {SHINGLE} {THRESHOLD} {EXACT} {BANDS} {HASHES} {NEIGHBOURS}"  # two of one method find the same groups


def near_groups(texts: Sequence[str], exact: int = EXACT, few: int = FEW) -> Array:
    """For each text the place of the first one of its group, shape (texts,).

    Every pair is found among at most `exact` different texts; more than `few` are first drawn together by hashes.
    """
    if not texts:
        return np.zeros(0, np.int64)
    sets, groups = Sets.of(texts), _Groups(len(texts))
    _, firsts, which = np.unique(sets.contents(), return_index=True, return_inverse=True)
    groups.unite(np.arange(len(texts)), firsts[which])
    rows = np.sort(firsts)
    if len(rows) > min(few, exact):
        _join_by_bands(sets, rows, groups)
    if len(rows) <= exact:
        _join_by_rare_shingles(sets, rows, groups)
    return groups.roots(np.arange(len(texts)))


def pairs_within(texts: Sequence[str], groups: Array) -> Array:
    """All pairs of near-duplicates that are in one of `groups`, shape (pairs, 2), in order."""
    sets, order = Sets.of(texts), np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], groups[order], "right")
    starts = np.arange(1, len(texts) + 1)
    found = [np.zeros((0, 2), np.int64)]
    for part in cut(ends - starts, PAIRS, len(texts)):
        sizes = (ends - starts)[part]
        one = order[np.repeat(np.arange(len(texts))[part], sizes)]
        other = order[ranges(starts[part], sizes)]
        near = sets.similar(one, other)
        found.append(np.stack([one[near], other[near]], 1))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


class _Groups:
    """Numbers from 0 on, each alone at first; the smallest of a group stands for it."""

    def __init__(self, count: int) -> None:
        self.parents = np.arange(count)

    def roots(self, members: Array) -> Array:
        found = self.parents[members]
        while not np.array_equal(found, above := self.parents[found]):
            found = above
        self.parents[members] = found
        return found

    def unite(self, one: Array, other: Array) -> None:
        while len(one):
            one, other = self.roots(one), self.roots(other)
            apart = one != other
            one, other = one[apart], other[apart]
            np.minimum.at(self.parents, np.maximum(one, other), np.minimum(one, other))

    def join(self, sets: Sets, one: Array, other: Array) -> None:
        """Unite the groups of the pairs that are near-duplicates."""
        apart = self.roots(one) != self.roots(other)
        one, other = one[apart], other[apart]
        near = sets.similar(one, other)
        self.unite(one[near], other[near])


def _join_by_bands(sets: Sets, rows: Array, groups: _Groups) -> None:
    rng = np.random.default_rng(0)
    parts = list(cut(sets.sizes[rows], PAIRS // 4, len(rows)))
    for _ in tqdm(range(BANDS), "looking for near-duplicates", unit="band", leave=False, disable=None):
        factors = rng.integers(1 << 31, 1 << 32, (2, HASHES), np.uint32) | 1
        keys = np.concatenate([_band(sets, rows[part], factors) for part in parts])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for apart in range(1, NEIGHBOURS + 1):
            alike = (keys[apart:] == keys[:-apart]).nonzero()[0]
            if not len(alike):
                break
            groups.join(sets, rows[order[alike]], rows[order[alike + apart]])


def _band(sets: Sets, rows: Array, factors: Array) -> Array:
    """What texts have in common whose HASHES smallest hashes agree: one number each, shape (rows,)."""
    values, sizes = sets.of_rows(rows)[0], sets.sizes[rows]
    starts = np.cumsum(sizes) - sizes
    short = (values >> 16).astype(np.uint32)
    keys = np.zeros(len(rows), np.uint64)
    for factor, offset in factors.T:
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + np.minimum.reduceat(short * factor + offset, starts)
    return keys


def _join_by_rare_shingles(sets: Sets, rows: Array, groups: _Groups) -> None:
    """Compare all texts that share one of the first few shingles of each, and are not in one group yet."""
    first = _first_shingles(sets, rows, groups)
    starts = np.searchsorted(first.runs, first.runs, "right")
    counts = np.searchsorted(first.tokens, first.tokens, "right") - starts
    bar = tqdm(total=int(counts.sum()), desc="comparing texts", unit="pair", leave=False, disable=None)
    with bar:
        for part in cut(counts, PAIRS, len(counts)):
            one = np.repeat(np.arange(len(counts))[part], counts[part])
            other = ranges(starts[part], counts[part])
            may = first.may_be_near(one, other)
            groups.join(sets, rows[first.owners[one[may]]], rows[first.owners[other[may]]])
            bar.update(len(one))


class _First(NamedTuple):
    """The first shingles of texts, rare before common: an entry for each, by shingle and then by the text's group.

    `owners` are the texts, `sizes` how many shingles they have, `left` how many of these from this one on. `indexed`
    are those that a text must share with one that has as many shingles or more; `runs` number the entries of one
    shingle and one group.
    """

    owners: Array
    tokens: Array
    sizes: Array
    left: Array
    indexed: Array
    runs: Array

    def may_be_near(self, one: Array, other: Array) -> Array:
        """Whether the texts of each pair can be near-duplicates, if this shingle is the first which they share."""
        a, b = self.sizes[one], self.sizes[other]
        left = np.minimum(self.left[one], self.left[other])
        enough = left >= THRESHOLD / (1 + THRESHOLD) * (a + b) - ROUNDING
        return enough & np.where(a <= b, self.indexed[one], self.indexed[other])


def _first_shingles(sets: Sets, rows: Array, groups: _Groups) -> _First:
    values, owners = sets.of_rows(rows)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    keys = np.sort(owners << 32 | rank[which])
    owners, tokens = keys >> 32, keys & (1 << 32) - 1
    sizes = sets.sizes[rows]
    left = np.cumsum(sizes)[owners] - np.arange(len(owners))
    sizes = sizes[owners]
    indexed = left >= np.ceil(2 * THRESHOLD / (1 + THRESHOLD) * sizes - ROUNDING)
    order = np.flatnonzero(left >= np.ceil(THRESHOLD * sizes))
    runs = tokens * len(sets.sizes) + groups.roots(rows)[owners]
    order = order[np.argsort(runs[order], kind="stable")]
    return _First(*(column[order] for column in (owners, tokens, sizes, left, indexed, runs)))
