"""Which queries are near-duplicates, as splits need it: remembered for large data, in units that go together."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.common.files import write_atomically
from training.data.duplicates import METHOD, near_groups, pairs_within
from training.data.splits import Linked, Pair

GROUPS_FILE = ".near-duplicates"
REMEMBERED = 20_000  # queries: of fewer the groups are found in a few seconds
PAIRS = 10_000_000  # of near-duplicates at most, whatever the rows are: larger groups count as a whole
DIGEST = hashlib.sha256().digest_size


def groups_of(keys: Sequence[str], texts: Sequence[str], home: Path | None, remembered: int = REMEMBERED) -> np.ndarray:
    """`near_groups` of the texts, whose keys are `keys`; those of many are kept in the folder `home` for the next run.

    The file holds no text: a digest of all keys, and the groups as numbers. It counts only for the same texts.
    """
    if home is None or len(keys) < remembered:
        return near_groups(texts)
    digest = hashlib.sha256("\n".join([METHOD, *keys]).encode()).digest()
    found = _read(home / GROUPS_FILE, digest, len(keys))
    if found is None:
        found = near_groups(texts)
        with contextlib.suppress(OSError):  # a folder that may not be written to only costs the time again
            _write(home / GROUPS_FILE, digest, found)
    return found


def _read(path: Path, digest: bytes, count: int) -> np.ndarray | None:
    """The groups that the file holds for these texts; None where it is of others, damaged or missing."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    head, body = stored[: 2 * DIGEST], stored[2 * DIGEST :]
    whole = len(body) == 4 * count and head == digest + hashlib.sha256(body).digest()
    return np.frombuffer(body, "<i4").astype(np.int64) if whole else None


def _write(path: Path, digest: bytes, groups: np.ndarray) -> None:
    body = groups.astype("<i4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, digest + hashlib.sha256(body).digest() + body)


def link(
    keys: Sequence[str],
    given: Sequence[str],
    known: Mapping[str, str],
    texts: Sequence[str],
    groups: np.ndarray,
    pairs: int = PAIRS,
) -> Linked:
    """Queries, in the order of their keys, in units that come into one split.

    A group is one unit if all of it came in files of one split and is kept in one split, or in none. Of a mixed group
    each query is a unit, and pairs say which are near; of one that is so large that there could be more than `pairs`
    in all, the queries of each kind are one unit, and each is near the others.
    """
    largest = 2 * pairs // max(len(keys), 1)
    units: list[list[int]] = []
    near: list[Pair] = []
    apart: list[int] = []
    for members in _members(groups):
        kinds: dict[tuple[str, str | None], list[int]] = collections.defaultdict(list)
        for i in members:
            kinds[given[i], known.get(keys[i])].append(i)
        if len(kinds) > 1 and len(members) <= largest:
            apart += members
        else:
            units += kinds.values()
            near += itertools.combinations((kind[0] for kind in kinds.values()), 2)
    found = pairs_within([texts[i] for i in apart], groups[apart])
    near += ((apart[i], apart[j]) for i, j in found.tolist())
    units = sorted([*units, *([i] for i in apart)])
    place = {unit[0]: number for number, unit in enumerate(units)}
    named = [tuple(keys[i] for i in unit) for unit in units]
    return Linked(named, [given[unit[0]] for unit in units], [(place[i], place[j]) for i, j in near])


def _members(groups: np.ndarray) -> Iterator[list[int]]:
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    for part in np.split(order, starts[1:]):
        yield part.tolist()
