"""The ONLY splits: train / dev / calibration / test, by a hash of the near-duplicate group, kept beside the data.

Rows are linked across all files first. A row that came in a file of its own split stays there; a row with none joins
the split of its near-duplicates, and a group of such rows goes where the hash of its smallest key falls.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Pair = tuple[int, int]
Shares = Sequence[float]
T = TypeVar("T")

SPLITS = ("train", "dev", "calibration", "test")


@dataclass
class Linked:
    """Units of queries that go together, and the pairs of units that are near-duplicates.

    A unit is the keys of its queries, in order; `given` has the split of the file that they came in, "" for none.
    """

    units: Sequence[tuple[str, ...]]
    given: Sequence[str]
    pairs: Iterable[Pair]
    near: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.near = collections.defaultdict(list)
        for i, j in self.pairs:
            self.near[i].append(j)
            self.near[j].append(i)

    def of(self, source: str) -> list[int]:
        """The units that came in a file of this split."""
        return [i for i, split in enumerate(self.given) if split == source]


def components(rows: Iterable[T], near: Callable[[T], Iterable[T]]) -> list[list[T]]:
    """The connected groups of `rows`, each in the order of `rows`; `near` gives neighbours, of these rows or others."""
    order = {row: place for place, row in enumerate(rows)}
    seen: set[T] = set()
    found = []
    for row in order:
        if row in seen:
            continue
        group, waiting = [], [row]
        seen.add(row)
        while waiting:
            group.append(waiting.pop())
            fresh = [other for other in near(group[-1]) if other in order and other not in seen]
            seen.update(fresh)
            waiting += fresh
        found.append(sorted(group, key=order.__getitem__))
    return found


def divide(
    linked: Linked, plan: Mapping[str, Shares], kept: Mapping[str, str], salt: str, tally: collections.Counter[str]
) -> dict[str, str]:
    """Query key → split. Rows in `kept` and rows whose file's split is not in `plan` stay where they are.

    `kept` has all queries of a unit, in one split, or none.

    A row without a split of its own that would bridge two groups in different splits is left out, and counted.
    """
    fixed = {i: split for i, split in enumerate(linked.given) if split not in plan}
    fixed |= {i: kept[keys[0]] for i, keys in enumerate(linked.units) if i not in fixed and keys[0] in kept}
    for source in sorted(plan, reverse=True):  # rows without a split of their own come last: they join the others
        fixed |= _divided(linked, source, fixed, plan[source], salt, tally)
    return {key: split for i, split in sorted(fixed.items()) for key in linked.units[i]}


def _divided(
    linked: Linked, source: str, fixed: Mapping[int, str], shares: Shares, salt: str, tally: collections.Counter[str]
) -> dict[int, str]:
    """Splits for the rows of one source that have none yet, near-duplicates together."""
    # What the user put into two files stays in two splits, however near it is.
    near = {i: [j for j in linked.near[i] if not source or linked.given[j] == source] for i in linked.of(source)}
    result: dict[int, str] = {}
    for group in components([i for i in near if i not in fixed], near.__getitem__):
        touched = {i: {fixed[j] for j in near[i] if j in fixed} for i in group}
        known = set().union(*touched.values())
        if len(known) > 1:
            joined = _torn(group, near, touched)
            tally["bridging"] += sum(len(linked.units[i]) for i in group if i not in joined)
            result |= joined
        else:
            split = known.pop() if known else pick(min(linked.units[i][0] for i in group), shares, salt)
            result |= dict.fromkeys(group, split)
    return result


def _torn(group: Sequence[int], near: Mapping[int, Sequence[int]], touched: Mapping[int, set[str]]) -> dict[int, str]:
    """Splits for a group that lies between two: each row joins its neighbours where these agree, else it has none."""
    result: dict[int, str] = {}
    before = -1
    while len(result) > before:
        before = len(result)
        for i in group:
            known = touched[i] | {result[j] for j in near[i] if j in result}
            if i not in result and len(known) == 1:
                result[i] = known.pop()
    return result


def pick(key: str, shares: Shares, salt: str) -> str:
    """The split of a group, by a hash of its key and the salt."""
    point = int.from_bytes(hashlib.sha256(f"{salt}\n{key}".encode()).digest()[:8], "big") / 2**64
    edges = itertools.accumulate(shares[:-1])
    return next((name for name, edge in zip(SPLITS, edges, strict=False) if point < edge), SPLITS[-1])
