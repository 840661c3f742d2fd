"""Rows of labelled data, and how they are read: JSON Lines, CSV, Parquet, a folder of these, a Hugging Face name."""

from __future__ import annotations

import collections
import hashlib
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.common import jsonl
from inference.common.text import canonical, query_form, repair

STEMS = {
    "train": "train",
    "dev": "dev",
    "val": "val",
    "validation": "val",
    "calibration": "calibration",
    "test": "test",
    "queries": "",
}
FORMATS = (".jsonl", ".csv", ".parquet")
KNOWN = ("id", "text", "label", "gold", "labeler", "shares", "split", "weight")


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


@dataclass(frozen=True)
class Source:
    """What was read: the rows, their taxonomy, how many rows had no label, and which files were passed over."""

    rows: tuple[Row, ...]
    taxonomy: Taxonomy
    unlabelled: int = 0
    ignored: tuple[str, ...] = ()


def text_key(text: str) -> str:
    """The content id of a query: equal for texts that are the same query."""
    return hashlib.sha256(query_form(text).encode()).hexdigest()[:16]


def read_source(data: str) -> Source:
    """Read a folder, a file, or a Hugging Face data set.

    Raises ValueError, naming file and line, if a row has no text or label or is invalid.
    """
    path = Path(data)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _source(list(_read_file(path, split="")), None)
    if path.suffix or data.startswith((".", "/")):
        raise ValueError(f"no such file or folder: {data}")
    return _source(list(_read_hub(data)), None)


def _read_folder(folder: Path) -> Source:
    files = sorted(path for path in folder.iterdir() if path.suffix in FORMATS)
    named = [path for path in files if path.stem.removeprefix("oos_") in STEMS]
    if not named:
        raise ValueError(f"{folder} has no data files: expected {'/'.join(STEMS)} as {', '.join(FORMATS)}")
    rows: list[Row | None] = []
    outside: set[str] = set()
    for path in named:
        stem = path.stem.removeprefix("oos_")
        read = list(_read_file(path, STEMS[stem]))
        if stem != path.stem:
            outside |= {row.label for row in read if row is not None}
        rows += read
    taxonomy = folder / "taxonomy.toml"
    loaded = Taxonomy.load(taxonomy) if taxonomy.is_file() else None
    return _source(rows, loaded, outside, [path.name for path in files if path not in named])


def _source(
    rows: list[Row | None], taxonomy: Taxonomy | None, outside: Iterable[str] = (), ignored: Iterable[str] = ()
) -> Source:
    labelled = tuple(row for row in rows if row is not None)
    if not labelled:
        raise ValueError("the data has no labelled row")
    if taxonomy is None:
        taxonomy = Taxonomy.of((row.label for row in labelled), outside)
    strangers = sorted({label for row in labelled for label in (row.label, *(row.shares or ()))} - set(taxonomy.names))
    if strangers:
        raise ValueError(
            f"labels not in the taxonomy: {', '.join(strangers[:5])}; its intents are {', '.join(taxonomy.names)}"
        )
    return Source(labelled, taxonomy, len(rows) - len(labelled), tuple(ignored))


def _read_file(path: Path, split: str) -> Iterator[Row | None]:
    for place, values in records(path):
        yield to_row(values, place, split)


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, record) of every record of a .jsonl, .csv or .parquet file.

    Raises ValueError, naming the place, if one is invalid.
    """
    if path.suffix == ".jsonl":
        yield from jsonl.read(path)
        return
    import datasets

    read = datasets.Dataset.from_csv if path.suffix == ".csv" else datasets.Dataset.from_parquet
    # The library caches what it read under the file's name: a cache of our own dies with this call.
    with tempfile.TemporaryDirectory() as cache:
        try:
            rows = read(str(path), cache_dir=cache, keep_in_memory=True).to_list()
        except Exception as error:  # the library wraps whatever its readers raise
            raise ValueError(f"{path} cannot be read as {path.suffix[1:]}: {error.__cause__ or error}") from error
    for number, values in enumerate(rows, 1):
        yield f"{path} row {number}", _with_null(values)


def _with_null(value: Any) -> Any:
    """`value` with null for every number that JSON does not know."""
    if isinstance(value, dict):
        return {name: _with_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_hub(name: str) -> Iterator[Row | None]:
    import datasets

    try:
        splits = datasets.load_dataset(name)
    except Exception as error:  # offline, unknown name, no access: the library's own words say which
        raise ValueError(
            f"{name} is not a file or folder, and loading it as a Hugging Face data set failed: {error}"
        ) from error
    for stem, table in splits.items():
        if stem not in STEMS:
            continue
        classes = getattr(table.features.get("label"), "names", None)
        for number, values in enumerate(table, 1):
            record = dict(values)
            if classes and record["label"] is not None:
                record["label"] = classes[record["label"]]
            yield to_row(record, f"{name} {stem} row {number}", STEMS[stem])


def to_row(values: dict[str, Any], place: str, split: str) -> Row | None:
    """A record as a Row; None where its label is null (a teacher's refusal). Raises ValueError if it is invalid."""
    missing = [name for name in ("text", "label") if name not in values]
    if missing:
        raise ValueError(
            f"{place}: the field {' and '.join(missing)} is missing; its fields are {', '.join(map(str, values))}"
        )
    text, label = values["text"], values["label"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}: text must be a non-empty string, got {text!r}")
    if label is None:
        return None
    if not isinstance(label, str) or not canonical(label):
        raise ValueError(f"{place}: label must be a non-empty string, got {label!r}")
    text = repair(text)
    return Row(
        id=str(values.get("id") or text_key(text)),
        text=text,
        label=canonical(label),
        gold=_gold(values.get("gold")),
        labeler=str(values.get("labeler") or "author"),
        shares=_shares(values.get("shares"), place),
        split=split or _split(values.get("split"), place),
        weight=_weight(values.get("weight"), place),
        extra={name: value for name, value in values.items() if name not in KNOWN},
    )


def to_record(row: Row) -> dict[str, Any]:
    """A Row as a record that `to_row` reads back, without its request and its group."""
    values = {name: getattr(row, name) for name in KNOWN}
    return {**row.extra, **{name: value for name, value in values.items() if value is not None}}


def _shares(value: Any, place: str) -> dict[str, float] | None:
    if value is None:
        return None
    good = isinstance(value, dict) and value and all(type(v) in (int, float) and v >= 0 for v in value.values())
    if not good or sum(value.values()) <= 0:
        raise ValueError(f"{place}: shares must map intents to votes, got {value!r}")
    votes: collections.Counter[str] = collections.Counter()
    for name, count in value.items():
        votes[canonical(name)] += count
    return {name: count / votes.total() for name, count in votes.items()}


def _gold(value: Any) -> Any:
    return canonical(value) if isinstance(value, str) else value


def _split(value: Any, place: str) -> str:
    if value is None or value == "":
        return ""
    if value not in STEMS.values():
        raise ValueError(f"{place}: split must be one of train, dev, val, calibration, test, got {value!r}")
    return str(value)


def _weight(value: Any, place: str) -> float:
    if value is None:
        return 1.0
    if type(value) not in (int, float) or not 0 <= value < float("inf"):
        raise ValueError(f"{place}: weight must be a number of at least 0, got {value!r}")
    return float(value)
