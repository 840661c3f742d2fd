"""From the parts of a run to its files: JSON Lines, CSV, TSV or Parquet, written whole or not at all."""

from __future__ import annotations

import collections
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from inference.batch.parts import answers, deferred, finished
from inference.batch.records import READERS, Source, opened
from inference.common import jsonl
from inference.common.extras import library
from inference.common.files import fsync
from inference.common.places import is_url
from inference.common.storage import storage, told

Writer = Callable[[BinaryIO, Path, int], None]


def counts(home: Path, parts: int) -> collections.Counter[str]:
    """Rows by what became of them: a source that answered, "deferred" or "errors"."""
    total = collections.Counter[str]()
    for counted in _counted(home, parts):
        total.update(counted["counts"])
    return total


def written(name: str, home: Path, parts: int, write: Writer) -> None:
    """Let `write` fill the file or URL `name`, which is complete or not there: a storage is given a whole file."""
    path = home / f"whole{''.join(Path(name.partition('?')[0]).suffixes[-2:])}" if is_url(name) else Path(name)
    _fill(path, home, parts, write)
    if is_url(name):
        system, there = storage(name)
        with told(name, "written"):
            system.put_file(str(path), there)


def draft(path: Path) -> Path:
    """Where a file is while it is written: with the same ending, which says what is packed."""
    return path.with_name(f".draft.{path.name}")


def _fill(path: Path, home: Path, parts: int, write: Writer) -> None:
    unfinished = draft(path)
    try:
        with opened(str(unfinished), "wb") as file:
            write(file, home, parts)
        fsync(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    fsync(path.parent)


def writer(ending: str) -> Writer:
    """What writes the answers to a file with this ending. Raises ValueError if nothing does."""
    if ending not in WRITERS:
        raise ValueError(f"expected a file that ends with {', '.join(WRITERS)}, found {ending or 'no ending'}")
    return WRITERS[ending]


def check_deferred(name: str) -> None:
    """Raise ValueError if the name of the file for what is not accepted promises another format than lines of JSON."""
    ending = Source(name, 0, "").format
    if ending in READERS:
        raise ValueError(f"--deferred is written as lines of JSON, not as {ending}: let its name end with .jsonl")


def write_deferred(file: BinaryIO, home: Path, parts: int) -> None:
    """The rows that no local answer was accepted for, as `training.label` reads them."""
    _joined(file, [deferred(home, number) for number in range(1, parts + 1)])


def _json_lines(file: BinaryIO, home: Path, parts: int) -> None:
    _joined(file, [answers(home, number) for number in range(1, parts + 1)])


def _joined(file: BinaryIO, paths: list[Path]) -> None:
    for path in paths:
        with path.open("rb") as part:
            shutil.copyfileobj(part, file)


def _separated(separator: str) -> Writer:
    def write(file: BinaryIO, home: Path, parts: int) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.DictWriter(text, _columns(home, parts), delimiter=separator)
        if table.fieldnames:
            table.writeheader()
        for rows in _parts(home, parts):
            table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        text.detach()

    return write


def _cell(value: Any) -> Any:
    return value if isinstance(value, str) or value is None else jsonl.line(value, ensure_ascii=False)


def _parquet(file: BinaryIO, home: Path, parts: int) -> None:
    pa, pq = library("pyarrow", "bulk"), library("pyarrow.parquet", "bulk")
    try:
        schemas = [pa.table(_by_column(rows)).schema for rows in _parts(home, parts)]
        schema = pa.unify_schemas([pa.schema([]), *schemas], promote_options="permissive")
        with pq.ParquetWriter(file, schema) as out:
            for rows in _parts(home, parts):
                flat = [{name: _flat(value) for name, value in row.items()} for row in rows]
                out.write_table(pa.Table.from_pylist(flat, schema))
    except (pa.ArrowException, OverflowError) as error:
        way = f"give --out a name that ends with .jsonl, and --work {home} so that nothing is classified again"
        raise ValueError(f"the rows do not fit into Parquet columns: {error}; {way}") from error


def _by_column(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Every column that any row has, alternatives as JSON: a column per intent would be a table of nearly nothing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [_flat(row.get(name)) for row in rows] for name in names}


def _flat(value: Any) -> Any:
    return _cell(value) if isinstance(value, dict) else value


def _columns(home: Path, parts: int) -> list[str]:
    return list(dict.fromkeys(name for counted in _counted(home, parts) for name in counted["columns"]))


def _counted(home: Path, parts: int) -> Iterator[dict[str, Any]]:
    for number in range(1, parts + 1):
        yield json.loads(finished(home, number).read_text(encoding="utf-8"))


def _parts(home: Path, parts: int) -> Iterator[list[dict[str, Any]]]:
    for number in range(1, parts + 1):
        with answers(home, number).open("rb") as file:
            yield [json.loads(line) for line in file]


WRITERS: dict[str, Writer] = {
    ".jsonl": _json_lines,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
