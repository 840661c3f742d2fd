"""The records of a data file, whatever its format: a table's cells are text, and no type is ever guessed."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.common import jsonl
from inference.common.text import canonical
from training.data.files import FORMATS, content, format_of, lines_of, text_of
from training.data.rows import PLAIN

Records = Iterator[tuple[str, dict[str, Any]]]
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}
_Cells = tuple[str, list[str]]  # FILE:LINE, and what stands in it
_LONGEST_CELL = 1 << 30  # characters; the module's own limit refuses texts that every other format takes
_BATCH = 10_000  # rows of a Parquet file that are Python objects at a time


def records(path: Path, encoding: str = "") -> Records:
    """(FILE:LINE, record) of every record of a file in one of FORMATS, gzipped or not.

    A cell of CSV or TSV is text, and None where it is empty; what JSON does not know, a date or bytes in Parquet, is
    text too. Raises ValueError, naming the place, if a record is invalid.
    """
    read = _READERS.get(format_of(path))
    if read is None:
        raise ValueError(f"{path}: the ending is not one of {', '.join(FORMATS)} (each may be followed by .gz)")
    return read(path, encoding)


def _json_lines(path: Path, encoding: str) -> Records:
    return jsonl.objects(path, lines_of(path, encoding))


def _json(path: Path, encoding: str) -> Records:
    """A list of objects; many files that are called .json hold one object a line."""
    text = text_of(path, encoding)
    start = len(text) - len(text.lstrip())
    if text[start : start + 1] == "[":
        yield from _list(path, text, start + 1)
        return
    first = text.strip().partition("\n")[0]
    try:
        jsonl.parse(first)
    except ValueError:
        wanted = "expected a list of objects, or one object in each line"
        raise ValueError(f"{path}:1: {wanted}, got {first[:60]!r}") from None
    yield from _json_lines(path, encoding)


def _list(path: Path, text: str, at: int) -> Records:
    line, seen, wanted = 1, 0, "]"
    while True:
        at = _after_spaces(text, at)
        line, seen = line + text.count("\n", seen, at), at
        if text[at : at + 1] == "]" and wanted == "]":
            break
        try:
            values, at = jsonl.parse_at(text, at, whole=False)
        except ValueError as error:
            # What is wrong may be some lines below the one in which the object begins.
            raise ValueError(f"{path}:{getattr(error.__cause__, 'lineno', line)}: {error}") from error
        yield f"{path}:{line}", values
        at = _after_spaces(text, at)
        if text[at : at + 1] not in (",", "]"):
            raise ValueError(f"{path}:{line}: not valid JSON: expected a comma or ] after this object")
        wanted = "" if text[at] == "," else "]"
        at += text[at] == ","
    if text[at + 1 :].strip():
        raise ValueError(f"{path}:{line}: not valid JSON: the list ends here, but the file goes on")


def _after_spaces(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _table(path: Path, encoding: str) -> Records:
    text = text_of(path, encoding, or_latin=True)
    said = text[4:5] if text[:4].lower() == "sep=" else ""  # Excel's own first line
    delimiter = said or _delimiter(text, _DELIMITERS[format_of(path)])
    rows = _rows(path, text, delimiter)
    if said:
        next(rows)
    filled = ((place, cells) for place, cells in rows if any(map(str.strip, cells)))
    place, first = next(filled, (f"{path}:1", []))
    names = _names(place, first)
    for place, cells in _without_header(path, filled, first):
        if any(cells[len(names) :]) or len(cells) < len(names):
            named = f"{len(names)} ({', '.join(names)})"
            advice = f"a cell that holds {delimiter!r} must stand in quotes"
            raise ValueError(f"{place}: {len(cells)} cells where the header names {named}; {advice}")
        yield place, {name: cell or None for name, cell in zip(names, cells, strict=False)}


def _without_header(path: Path, rows: Iterable[_Cells], header: Sequence[str]) -> Iterator[_Cells]:
    """The rows but for those that are the header once more, as in tables that were joined: these are told."""
    again: list[str] = []
    names = [*map(canonical, header)]
    for place, cells in rows:
        if len(names) > 1 and cells[-1] == header[-1] and [*map(canonical, cells)] == names:
            again.append(place)
        else:
            yield place, cells
    if again:
        told = f"the header stands again in {len(again)} of its lines, first in {again[0]}: left out"
        print(f"warning: {path}: {told}", file=sys.stderr)


def _delimiter(text: str, known: str) -> str:
    """What divides the header so that it names the column `text`, or else what divides it most."""

    def header(delimiter: str) -> tuple[bool, int]:
        try:
            names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            return False, 0
        return any(canonical(name).casefold() == "text" for name in names), len(names)

    return max(known, key=header)


def _rows(path: Path, text: str, delimiter: str) -> Iterator[_Cells]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        place = f"{path}:{reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            advice = "a quote inside of a quoted cell must be doubled, and the last one must close it"
            raise ValueError(f"{place}: not valid CSV: {error}; {advice}") from error
        if cells is None:
            return
        yield place, cells


def _names(place: str, header: Sequence[str]) -> list[str]:
    """The columns' names; one without a name, such as the index that pandas writes, is called by its number."""
    names = [canonical(name) or f"column {number}" for number, name in enumerate(header, 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{place}: the header names the column {twice!r} twice; rename one")
    return names


def _parquet(path: Path, encoding: str) -> Records:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(content(path))).read()
    except (pyarrow.ArrowException, ValueError, OSError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    _names(str(path), table.column_names)
    names, classes = table.column_names, _classes(table.schema)
    number = 0
    for batch in table.to_batches(_BATCH):
        columns = (_values_of(path, name, column) for name, column in zip(names, batch.columns, strict=True))
        for values in zip(*columns, strict=True):
            number += 1
            place = f"{path} row {number}"
            yield place, plain(dict(zip(names, values, strict=True)), classes, place)


def _values_of(path: Path, name: str, column: Any) -> list[Any]:
    """A column's values. Times that Python does not know are their numbers, as text."""
    import pyarrow
    from pyarrow import types

    try:
        if canonical(name).casefold() in PLAIN and "binary" in str(column.type):
            column = column.cast(pyarrow.large_string())  # of what is read, not of what is carried
        return list(column.to_pylist(maps_as_pydicts="lossy"))
    except (pyarrow.ArrowException, ValueError, OverflowError, LookupError) as error:
        if not types.is_temporal(column.type):
            raise ValueError(f"{path}: the column {name!r} cannot be read: {error}") from error
        number = pyarrow.int32() if column.type.bit_width == 32 else pyarrow.int64()
        return [value if value is None else str(value) for value in column.view(number).to_pylist()]


def _classes(schema: Any) -> dict[str, list[str]]:
    """The names of classes that are stored as numbers, by column, in a file that the library datasets wrote."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    return class_names(datasets.Features.from_arrow_schema(schema))


def class_names(features: Mapping[str, Any] | None) -> dict[str, list[str]]:
    """The names of the classes of those columns of a Hugging Face table that hold numbers of classes."""
    found = {name: getattr(feature, "names", None) for name, feature in (features or {}).items()}
    return {name: names for name, names in found.items() if names}


def plain(values: Mapping[str, Any], classes: Mapping[str, Sequence[str]], place: str) -> dict[str, Any]:
    """A record in what JSON knows, with the names of classes in place of their numbers; -1 is no class.

    Raises ValueError, naming the place, if a number is that of no class.
    """
    record = {str(name): _plain(value) for name, value in values.items()}
    for name, names in classes.items():
        number = record.get(name)
        if isinstance(number, int) and number >= len(names):
            raise ValueError(f"{place}: {name} is class {number}, but only 0 to {len(names) - 1} have a name")
        record[name] = names[number] if isinstance(number, int) and number >= 0 else None
    return record


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return format(value, "f") if isinstance(value, decimal.Decimal) else str(value)


def _key(name: Any) -> str:
    return str(_plain(name))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


_READERS: dict[str, Callable[[Path, str], Records]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
}
