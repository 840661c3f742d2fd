"""Labelled data as people have them: a file, a folder of files, or a Hugging Face data set."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.bundle.manifest import TAXONOMY
from inference.bundle.taxonomy import Taxonomy
from training.data.files import FORMATS, format_of, missing_parts, stem_of
from training.data.foreign import Adapt, NoRequest, adapter
from training.data.kept import SPLITS_FILE
from training.data.looks import LOOKS_FILE
from training.data.records import class_names, plain, records
from training.data.rows import SPLIT_OF, Row, named, to_row

STEMS = {**SPLIT_OF, "queries": ""}
OWN = {SPLITS_FILE, LOOKS_FILE}
OUTSIDE = "oos_"  # what the names of files begin with whose labels are out of scope
MOST_STRANGERS = 0.05  # of the labelled rows: more labels outside the taxonomy are no slips of a teacher
MOST_NAMED = 5
Places = dict[str, str]  # the place where a label was met first, by the label as it is written


@dataclass(frozen=True)
class Reading:
    """How data are read: in which encoding ("": what is found), and what their records are."""

    encoding: str = ""
    format: str = "rows"


@dataclass(frozen=True)
class Source:
    """What was read: the rows, their taxonomy, and counts of what is no row. `notes` are for a person to read.

    `unlabelled` rows had no label, `strangers` one that is no intent; `respelled` counts rows whose label was written
    in another form than the intent's name.
    """

    rows: tuple[Row, ...]
    taxonomy: Taxonomy
    unlabelled: int = 0
    respelled: int = 0
    strangers: int = 0
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """How many rows were read, and how many have no label, a respelled one, or one that is no intent."""
        unusual = {"labels_respelled": self.respelled, "labels_of_no_intent": self.strangers}
        return {"read": len(self.rows), "unlabelled": self.unlabelled} | {k: n for k, n in unusual.items() if n}


@dataclass
class _Found:
    """What is gathered while files are read."""

    rows: list[Row]
    outside: set[str]
    places: Places
    unlabelled: int = 0
    respelled: int = 0
    left_out: list[NoRequest] = field(default_factory=list)

    def add(self, record: dict[str, Any], adapt: Adapt, place: str, split: str, outside: bool) -> None:
        try:
            values = named(adapt(record, place), place)
        except NoRequest as error:
            self.left_out.append(error)
            return
        row = to_row(values, place, split)
        if row is None:
            self.unlabelled += 1
            return
        self.rows.append(row)
        self.places.setdefault(row.label, place)
        if outside:
            self.outside.add(row.label)
        written = values.get("label")
        self.respelled += isinstance(written, str) and written != row.label


def read_source(data: str, reading: Reading | None = None) -> Source:
    """Read a folder, a file, or a Hugging Face data set.

    Raises ValueError, naming file and line, if a row has no text or label or is invalid.
    """
    path, reading = Path(data), reading or Reading()
    found, ignored = _Found([], set(), {}), []
    taxonomy = _taxonomy(path) if path.is_dir() else None
    adapt = adapter(reading.format, taxonomy)
    if path.is_dir() and _is_saved(path):
        _read_hub(path, found, adapt)
    elif path.is_dir():
        ignored = _read_folder(path, reading, found, adapt)
    elif path.is_file():
        _read_file(path, "", reading, found, adapt)
    elif format_of(path) or path.suffix or data.startswith((".", "/")):
        raise ValueError(f"no such file or folder: {data}")
    else:
        _read_hub(data, found, adapt)
    return _source(found, taxonomy, ignored)


def _taxonomy(folder: Path) -> Taxonomy | None:
    path = folder / TAXONOMY
    return Taxonomy.load(path) if path.is_file() else None


def _read_folder(folder: Path, reading: Reading, found: _Found, adapt: Adapt) -> list[str]:
    """Read the files whose names say what they hold, and return what is to be said of others, and of their rows."""
    known, others = data_files(folder)
    if not known:
        wanted = f"expected train, dev, val, calibration, test or queries as {', '.join(FORMATS)}"
        names = ", ".join(path.name for path in others[:MOST_NAMED])
        have = f"; it has {names}: name the file itself" if others else ""
        raise ValueError(f"{folder} has no data files: {wanted}{have}")
    ignored = [f"ignored {path.name}: not one of the known file names" for path in others]
    ignored += [f"ignored {path.name}: a folder" for path in sorted(folder.iterdir()) if _holds_data(path)]
    for path in known:
        before = len(found.rows) + found.unlabelled
        _read_file(path, STEMS[stem_of(path).removeprefix(OUTSIDE)], reading, found, adapt)
        if len(found.rows) + found.unlabelled == before:
            ignored.append(f"{path.name} has no rows")
    return ignored + missing_parts(known)


def _holds_data(path: Path) -> bool:
    """Whether this is a folder under the name of a file, as Spark writes its parts."""
    return path.is_dir() and bool(format_of(path)) and stem_of(path).removeprefix(OUTSIDE) in STEMS


def data_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder whose names say what rows they hold, and others of a known format, but for our own."""
    files = sorted(path for path in folder.iterdir() if format_of(path) and _is_file(path) and path.name not in OWN)
    known = [path for path in files if stem_of(path).removeprefix(OUTSIDE) in STEMS]
    return known, [path for path in files if path not in known]


def _is_file(path: Path) -> bool:
    """Whether this is a file, or a link that leads to none: rows that cannot be read must not be left out."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _read_file(path: Path, split: str, reading: Reading, found: _Found, adapt: Adapt) -> None:
    outside = stem_of(path).startswith(OUTSIDE)
    for place, values in records(path, reading.encoding):
        found.add(values, adapt, place, split, outside)


def _is_saved(folder: Path) -> bool:
    """Whether the library `datasets` saved a data set here."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _read_hub(name: str | Path, found: _Found, adapt: Adapt) -> None:
    import datasets

    try:
        tables = datasets.load_from_disk(str(name)) if isinstance(name, Path) else datasets.load_dataset(name)
    except Exception as error:  # offline, unknown name, no access: the library's own words say which
        what = f"{name} is not a file or folder, and loading it as a Hugging Face data set failed"
        raise ValueError(f"{what}: {error}") from error
    for split, table in (tables if isinstance(tables, dict) else {"": tables}).items():
        stem = str(split).casefold()
        if stem and stem not in STEMS:
            continue
        classes = class_names(table.features)
        for number, values in enumerate(table, 1):
            place = " ".join(part for part in (str(name), str(split), f"row {number}") if part)
            found.add(plain(values, classes, place), adapt, place, STEMS.get(stem, ""), outside=False)


def _source(found: _Found, taxonomy: Taxonomy | None, notes: Iterable[str]) -> Source:
    if not found.rows:
        if found.left_out and not found.unlabelled:
            raise found.left_out[0]
        unlabelled = f"; {found.unlabelled} rows have none" if found.unlabelled else ""
        raise ValueError(f"the data has no labelled row{unlabelled}")
    taxonomy = taxonomy or _of_labels(found.places, found.outside)
    # No two names of a taxonomy differ in case alone.
    spelling = {name.casefold(): name for name in taxonomy.names}
    known, strangers, respelled = [], collections.Counter[str](), found.respelled
    for row in found.rows:
        name = spelling.get(row.label.casefold())
        if name is None:
            strangers[row.label] += 1
            continue
        respelled += name != row.label
        known.append(_in_spelling(row, name, spelling))
    told = _strangers(strangers, len(found.rows), found.places, taxonomy)
    if found.left_out:
        told.append(f"left out {len(found.left_out)} lines that are no chat, first {found.left_out[0]}")
    return Source(tuple(known), taxonomy, found.unlabelled, respelled, strangers.total(), (*notes, *told))


def _of_labels(places: Places, outside: Iterable[str]) -> Taxonomy:
    """The taxonomy of the labels that were met. Raises ValueError if two differ in case alone."""
    folded: dict[str, str] = {}
    for label in places:
        other = folded.setdefault(label.casefold(), label)
        if other != label:
            both = f"{other!r} ({places[other]}) and {label!r} ({places[label]})"
            raise ValueError(
                f"the labels {both} differ in upper and lower case alone: write one of them everywhere, or name the "
                "intents in a taxonomy.toml"
            )
    if len(folded) < 2:
        only = f"all rows have the label {next(iter(places))!r}"
        raise ValueError(f"{only}; a classifier needs at least two intents: add rows of another")
    return Taxonomy.of(places, outside)


def _in_spelling(row: Row, label: str, spelling: Mapping[str, str]) -> Row:
    """The row with `label`, and with its votes in the taxonomy's spelling; votes for what is no intent are left out."""
    if row.shares is None:
        return row if row.label == label else replace(row, label=label)
    votes: collections.Counter[str] = collections.Counter()
    for name, share in row.shares.items():
        if name.casefold() in spelling:
            votes[spelling[name.casefold()]] += share  # type: ignore[assignment]
    total = sum(votes.values())
    shares = {name: share / total for name, share in votes.items() if total} or None
    return replace(row, label=label, shares=row.shares if votes == row.shares else shares)


def _strangers(strangers: collections.Counter[str], rows: int, places: Places, taxonomy: Taxonomy) -> list[str]:
    """What to say of labels that are no intents. Raises ValueError if these are too many to be slips of a teacher."""
    if not strangers:
        return []
    named = ", ".join(f"{name!r} ({places[name]})" for name, _ in strangers.most_common(MOST_NAMED))
    count = strangers.total()
    if count > MOST_STRANGERS * rows:
        raise ValueError(
            f"labels not in the taxonomy: {named}; its intents are {', '.join(taxonomy.names)}. {count} of {rows} rows "
            "have such a label: correct them, or the taxonomy"
        )
    return [f"left out {count} of {rows} rows, whose labels are no intents of the taxonomy: {named}"]
