"""Near-duplicate texts: an exact set-similarity join on character shingles.

The method is prefix filtering (Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"): with shingles
ordered from rare to common, two sets can only reach the threshold if they share one of their first few shingles.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Sequence

from tqdm import tqdm

from inference.common.text import query_form

SHINGLE = 4
THRESHOLD = 0.75


def shingles(text: str) -> frozenset[str]:
    """Character 4-grams of the letters and digits; a short text is its own single shingle."""
    bare = " ".join(re.findall(r"\w+", query_form(text))) or query_form(text)
    return frozenset(bare[i : i + SHINGLE] for i in range(max(1, len(bare) - SHINGLE + 1)))


def near_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, whose shingle sets have a Jaccard similarity of at least 0.75."""
    sets = [shingles(text) for text in texts]
    counts = collections.Counter(shingle for one in sets for shingle in one)
    index: dict[str, list[int]] = collections.defaultdict(list)
    pairs = []
    order = sorted(range(len(sets)), key=lambda k: len(sets[k]))
    for j in tqdm(order, "looking for near-duplicates", unit="text", leave=False, disable=None):
        candidates: set[int] = set()
        rare_first = sorted(sets[j], key=lambda shingle: (counts[shingle], shingle))
        for shingle in rare_first[: len(rare_first) - math.ceil(THRESHOLD * len(rare_first)) + 1]:
            candidates.update(index[shingle])
            index[shingle].append(j)
        pairs += [(min(i, j), max(i, j)) for i in candidates if _similar(sets[i], sets[j])]
    return sorted(pairs)


def _similar(a: frozenset[str], b: frozenset[str]) -> bool:
    if min(len(a), len(b)) < THRESHOLD * max(len(a), len(b)):
        return False
    shared = len(a & b)
    return shared >= THRESHOLD * (len(a) + len(b) - shared)
