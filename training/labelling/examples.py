"""Labelled rows that are shown to a teacher with a query: those that are most like it.

Likeness is the share of rare character 4-grams (inverse document frequency), which needs no model. A row with the very
text of the query is left out: a teacher would repeat its label.
"""

from __future__ import annotations

import collections
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.redact import Redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common.text import query_form
from training.data.records import records
from training.data.rows import named, to_row
from training.data.shingles import shingles

Example = tuple[str, str]  # a text and its label


class Examples:
    """Chooses `most` examples for a query. `id` changes whenever what could be chosen does."""

    def __init__(self, rows: Sequence[Example], most: int) -> None:
        self.rows, self.most = rows, most
        self.id = hashlib.sha256(json.dumps([most, *rows]).encode()).hexdigest()[:12]
        self._forms = [query_form(text) for text, _ in rows]
        self._index: dict[str, list[int]] = collections.defaultdict(list)
        self._sizes: list[float] = []
        sets = [shingles(text) for text, _ in rows]
        counts = collections.Counter(shingle for one in sets for shingle in one)
        self._weights = {shingle: math.log(1 + len(rows) / count) for shingle, count in counts.items()}
        for i, one in enumerate(sets):
            self._sizes.append(math.sqrt(sum(self._weights[shingle] ** 2 for shingle in one)))
            for shingle in one:
                self._index[shingle].append(i)

    def __call__(self, text: str) -> list[Example]:
        """The rows that are most like `text`, the most alike last."""
        scores: collections.Counter[int] = collections.Counter()
        for shingle in shingles(text):
            for i in self._index.get(shingle, ()):
                scores[i] += self._weights[shingle] ** 2  # type: ignore[assignment]
        same = query_form(text)
        alike = sorted((-score / self._sizes[i], i) for i, score in scores.items() if self._forms[i] != same)
        return [self.rows[i] for _, i in reversed(alike[: self.most])]


def read_examples(path: Path, taxonomy: Taxonomy, redact: Redactor, most: int) -> Examples:
    """The labelled rows of a file; what a person said of one wins over its label.

    Raises ValueError, naming the place, if a label is no intent, or if there is no labelled row.
    """
    rows: dict[str, Example] = {}
    spelling = {name.casefold(): name for name in taxonomy.names}
    for place, values in records(path):
        row = to_row({"label": None, **named(values, place)}, place, "")
        if row is None:
            continue
        label = spelling.get((row.gold or row.label).casefold())
        if label is None:
            wrong = row.gold or row.label
            raise ValueError(f"{place}: the label of an example must be an intent of the taxonomy, got {wrong!r}")
        rows.setdefault(query_form(row.text), (redact(row.text), label))
    if not rows:
        raise ValueError(f"{path} has no labelled row to show as an example")
    return Examples(list(rows.values()), most)
