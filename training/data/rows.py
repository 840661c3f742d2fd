"""Rows of labelled data: what one is, and how it is read from a record and written as one.

A record's own columns are `text`, `label`, and where it has them `id` and `split`. What else Monoku reads or writes has
names that begin with `monoku_`, so that no other column ever has a meaning: it is carried.
"""

from __future__ import annotations

import collections
import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.common import jsonl
from inference.common.text import canonical, query_form, repair

PREFIX = "monoku_"
SPELLINGS = {
    "train": ("train", "training"),
    "dev": ("dev", "development"),
    "val": ("val", "valid", "validation", "eval", "evaluation"),
    "calibration": ("calibration", "calib", "cal"),
    "test": ("test", "testing"),
}
SPLIT_OF = {spelling: split for split, spellings in SPELLINGS.items() for spelling in spellings}
PLAIN = ("text", "label", "id", "split")
OURS = ("gold", "labeler", "shares", "weight")
_MEANT = {"text": "the message", "label": "the intent"}
PEOPLE = {"author", "human"}
MOST_SHOWN = 200  # characters of what was found, in an error
_READ = frozenset([*PLAIN, *(PREFIX + name for name in OURS)])
_READ_BEFORE = _READ | set(OURS)


@dataclass(frozen=True)
class Row:
    """One labelled query. `shares` holds vote shares by intent where votes were taken; `split` is "" until split.

    `request` is the id of the sampled live request that the row is, "" for every other row; a `label` of "" is a
    request that the teacher refused. `group` names the near-duplicates that the row is one trial with, "" where it is
    a trial of its own. Neither is read from a file: the code that composes a data set sets them.
    """

    id: str
    text: str
    label: str
    gold: str | None = None
    labeler: str = "author"
    shares: dict[str, float] | None = None
    split: str = ""
    weight: float = 1.0
    request: str = ""
    group: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes two rows the same query."""
        return text_key(self.text)


def text_key(text: str) -> str:
    """The content id of a query: equal for texts that are the same query."""
    return hashlib.sha256(query_form(text).encode()).hexdigest()[:16]


def ours(values: Mapping[str, Any], name: str) -> Any:
    """What a record says in the field `name` of ours: under its prefix, or without it as earlier versions wrote it."""
    return values.get(PREFIX + name, values.get(name) if without_prefix(values) else None)


def without_prefix(values: Mapping[str, Any]) -> bool:
    """Whether a record is of those that named their labeler before there was a prefix: a person or a teacher."""
    labeler = None if PREFIX + "labeler" in values else values.get("labeler")
    return isinstance(labeler, str) and (labeler in PEOPLE or ":" in labeler or "prompt_id" in values)


def _not_there(missing: Sequence[str], values: Mapping[str, Any]) -> str:
    fields = "fields {} are" if len(missing) > 1 else "field {} is"
    rename = " and ".join(f"that of {_MEANT[name]} to {name}" for name in missing)
    found = cut(", ".join(map(str, values))) or "none"
    return f"the {fields.format(' and '.join(missing))} missing; those found are {found}: rename {rename}"


def cut(found: str) -> str:
    """What was found, short enough for a line: one cell may hold a whole file."""
    return found if len(found) <= MOST_SHOWN else f"{found[:MOST_SHOWN]}..."


def to_row(values: Mapping[str, Any], place: str, split: str) -> Row | None:
    """A record as a Row; None where its label is empty (a teacher's refusal). Raises ValueError if it is invalid."""
    values = named(values, place)
    text = text_of_record(values, place, ("text", "label"))
    label = _as_text(values["label"], place, "label")
    if not label:
        return None
    if not canonical(label):
        raise ValueError(f"{place}: label must be a non-empty string, got {label!r}")
    id_ = _as_text(values.get("id"), place, "id")
    read = _READ_BEFORE if without_prefix(values) else _READ
    return Row(
        id=id_ or text_key(text),
        text=text,
        label=canonical(label),
        gold=canonical(_as_text(ours(values, "gold"), place, "gold") or "") or None,
        labeler=_as_text(ours(values, "labeler"), place, "labeler") or "author",
        shares=_shares(ours(values, "shares"), place),
        split=split or _split(values.get("split"), place),
        weight=_weight(ours(values, "weight"), place),
        extra={name: value for name, value in values.items() if name not in read},
    )


def text_of_record(values: Mapping[str, Any], place: str, wanted: Sequence[str] = ("text",)) -> str:
    """The text of a record that has the `wanted` columns. Raises ValueError, naming the place, if it is invalid."""
    missing = [name for name in wanted if name not in values]
    if missing:
        raise ValueError(f"{place}: {_not_there(missing, values)}")
    text = _as_text(values["text"], place, "text")
    if text is None or not text.strip():
        raise ValueError(f"{place}: text must be a non-empty string, got {values['text']!r}")
    return repair(text)


def to_record(row: Row) -> dict[str, Any]:
    """A Row as a record that `to_row` reads back, without its request and its group."""
    values = {name: getattr(row, name) for name in PLAIN} | {PREFIX + name: getattr(row, name) for name in OURS}
    return {**row.extra, **{name: value for name, value in values.items() if value is not None}}


def named(values: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """The record with our columns' names as we write them: "Text" is `text` where there is no other `text`.

    Raises ValueError if two columns have the same name of ours.
    """
    names = _names(tuple(values))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        written = ", ".join(repr(name) for name, one in zip(values, names, strict=True) if one == twice)
        raise ValueError(f"{place}: the columns {written} are all {twice!r}; rename those that are not")
    return values if names == tuple(values) else dict(zip(names, values.values(), strict=True))


@functools.lru_cache(maxsize=256)
def _names(written: tuple[str, ...]) -> tuple[str, ...]:
    forms = [canonical(name).casefold() for name in written]
    return tuple(form if form in _READ else name for name, form in zip(written, forms, strict=True))


def _as_text(value: Any, place: str, name: str) -> str | None:
    """A text, or a number or truth value as JSON writes it; None for null."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return jsonl.line(value)
    raise ValueError(f"{place}: {name} must be a string, got {cut(repr(value))}")


def _shares(value: Any, place: str) -> dict[str, float] | None:
    """Vote shares by intent; in a table they are written as JSON. An intent with null has no vote."""
    found = _in_json(value, place) if isinstance(value, str) else value
    if isinstance(found, Mapping):
        found = {name: votes for name, votes in found.items() if votes is not None}
    if found is None or found == {}:
        return None
    good = isinstance(found, dict) and all(type(votes) in (int, float) and votes >= 0 for votes in found.values())
    if not good or sum(found.values()) <= 0:
        raise ValueError(f"{place}: shares must map intents to votes, got {cut(repr(value))}")
    votes: collections.Counter[str] = collections.Counter()
    for name, count in found.items():
        votes[canonical(name)] += count
    return {name: count / votes.total() for name, count in votes.items()}


def _in_json(value: str, place: str) -> Any:
    try:
        return jsonl.parse(value) if value.strip() else None
    except ValueError as error:
        raise ValueError(f"{place}: shares must map intents to votes, got {cut(repr(value))}: {error}") from error


def _split(value: Any, place: str) -> str:
    written = canonical(_as_text(value, place, "split") or "").casefold()
    if written and written not in SPLIT_OF:
        raise ValueError(f"{place}: split must be one of {', '.join(SPELLINGS)}, got {value!r}")
    return SPLIT_OF.get(written, "")


def _weight(value: Any, place: str) -> float:
    try:
        weight = 1.0 if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        weight = -1.0
    if isinstance(value, bool) or not 0 <= weight < float("inf"):
        raise ValueError(f"{place}: weight must be a number of at least 0, got {value!r}")
    return weight
