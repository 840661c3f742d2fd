"""Queries to label: read from files, redacted and deduplicated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.bundle.redact import Redactor
from inference.common import jsonl
from training.data.files import format_of, lines_of
from training.data.records import records
from training.data.rows import PREFIX, named, ours, text_key, text_of_record, without_prefix

# What labelling says of a query: in its output these names begin with PREFIX, before 0.3.0 they did not.
OURS = ("query", "refusal", "labeler", "prompt_id", "usage", "cost_usd", "time", "shares", "opinion", "given")
_SAID = frozenset(["text", "label", *(PREFIX + name for name in OURS)])
_SAID_BEFORE = _SAID | set(OURS)


@dataclass(frozen=True)
class Query:
    """One query to label. `key` is its content id; `fields` is what else its record carried."""

    text: str
    key: str
    fields: dict[str, Any] = field(default_factory=dict)
    opinion: int = 1

    @property
    def id(self) -> str:
        """What its answers are filed under: a second opinion is asked apart from the first."""
        return self.key if self.opinion == 1 else f"{self.key}:{self.opinion}"


@dataclass(frozen=True)
class Queries:
    """Distinct queries in the order of the file, and how many records repeated one."""

    queries: tuple[Query, ...]
    read: int

    @property
    def duplicates(self) -> int:
        return self.read - len(self.queries)


def read_queries(path: Path, redact: Redactor, encoding: str = "") -> Queries:
    """Read records with a `text` from JSON Lines, JSON, CSV, TSV or Parquet, or one query a line from any other file.

    Raises ValueError, naming file and line, if it is invalid.
    """
    found: dict[str, Query] = {}
    read = 0
    for place, record in _records(path, encoding):
        values = dict(named(record, place))
        text = text_of_record(values, place)
        read += 1
        query = to_query(text, values, redact)
        found.setdefault(query.key, query)
    if not found:
        raise ValueError(f"{path} has no queries")
    return Queries(tuple(found.values()), read)


def to_query(text: str, values: dict[str, Any], redact: Redactor) -> Query:
    """A record as a redacted query. A label that it came with is kept as `monoku_given`."""
    said = _SAID_BEFORE if without_prefix(values) else _SAID
    fields = {name: value for name, value in values.items() if name not in said}
    given = values.get("label") if values.get("label") is not None else ours(values, "given")
    if given is not None:
        fields[PREFIX + "given"] = given
    text = redact(text)
    return Query(text, text_key(text), fields)


def _records(path: Path, encoding: str) -> Iterable[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if format_of(path):
        return records(path, encoding)
    return ((place, {"text": text}) for place, text in jsonl.texts(path, lines_of(path, encoding)))
