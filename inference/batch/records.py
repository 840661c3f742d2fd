"""Records to classify, as people have them: JSON Lines, CSV, TSV or Parquet, gzipped or not, here or at a URL.

Files here need nothing but Python; Parquet needs pyarrow and a URL needs fsspec, both in the extra `bulk`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from inference.common import jsonl
from inference.common.extras import library
from inference.common.places import is_url, shown

FORMATS = (".jsonl", ".ndjson", ".txt", ".csv", ".tsv", ".parquet")
BATCH = 1024  # rows of a Parquet file that are held at once


class Record(NamedTuple):
    """The fields of one row and its text, or what is wrong with the row."""

    fields: dict[str, Any]
    text: str = ""
    error: str = ""


class Source(NamedTuple):
    """One file: its path or URL, and what tells whether it is still the same."""

    name: str
    size: int
    modified: str

    @property
    def format(self) -> str:
        """The ending that says how it is read."""
        return Path(self.name.removesuffix(".gz")).suffix.lower()


def sources(paths: Sequence[str]) -> list[Source]:
    """The files behind paths, folders and URLs, those of one folder in the order of their names.

    Raises ValueError for a place that holds no file of a known format.
    """
    return [source for path in paths for source in (_remote(path) if is_url(path) else _local(Path(path)))]


def _local(path: Path) -> list[Source]:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    state = [(file, file.stat()) for file in files]
    return _known(str(path), [Source(str(file.absolute()), s.st_size, str(s.st_mtime_ns)) for file, s in state])


def _remote(url: str) -> list[Source]:
    system, root = library("fsspec", "bulk").core.url_to_fs(url)
    try:
        found = system.find(root, detail=True)
    except Exception as error:  # every store has exceptions of its own
        raise ValueError(f"{shown(url)} cannot be listed: {shown(str(error))}") from error
    files = [
        Source(system.unstrip_protocol(name), int(about.get("size") or 0), str(about.get("ETag") or about.get("mtime")))
        for name, about in sorted(found.items())
    ]
    return _known(url, files)


def _known(path: str, found: Sequence[Source]) -> list[Source]:
    known = [source for source in found if source.format in FORMATS]
    if not known:
        raise ValueError(f"{path} holds no file that ends with {', '.join(FORMATS)} (each may also end with .gz)")
    return known


def records(source: Source, text: str) -> Iterator[Record]:
    """Every row of a file in order; `text` is the name of the field that is classified.

    Raises ValueError if the file as a whole cannot be read. A row without such a field is a record with an error.
    """
    with opened(source.name, "rb") as file:
        try:
            for fields, error in READERS.get(source.format, _json_lines)(file):
                found = fields.get(text)
                if not error and not isinstance(found, str):
                    error = f"expected a string in the field `{text}`, the fields are {', '.join(fields) or 'none'}"
                yield Record(fields, error=error) if error else Record(fields, cast(str, found))
        except (EOFError, UnicodeDecodeError, gzip.BadGzipFile, csv.Error) as error:
            raise ValueError(f"{source.name} cannot be read as {source.format}: {error}") from error


@contextlib.contextmanager
def opened(name: str, mode: str) -> Iterator[BinaryIO]:
    """A file here or at a URL, unpacked or packed where its name ends with .gz; `mode` is "rb" or "wb"."""
    with contextlib.ExitStack() as stack:
        place = library("fsspec", "bulk").open(name, mode) if is_url(name) else Path(name).open(mode)  # noqa: SIM115
        file = stack.enter_context(place)
        if name.endswith(".gz"):
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode=mode))
        yield file


Fields = tuple[dict[str, Any], str]


def _json_lines(file: Iterable[bytes]) -> Iterator[Fields]:
    for number, line in enumerate(file, 1):
        try:
            text = jsonl.decode(line)
            if text.strip():
                yield (jsonl.parse(text) if text.lstrip().startswith("{") else {"text": text}), ""
        except ValueError as error:
            yield {}, f"line {number}: {error}"


def _separated(separator: str) -> Callable[[BinaryIO], Iterator[Fields]]:
    def read(file: BinaryIO) -> Iterator[Fields]:
        csv.field_size_limit(1 << 30)
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines, delimiter=separator, strict=True, restval=""):
                extra = row.pop(None, None)
                yield dict(row), f"{len(extra)} cells more than the header has" if extra else ""

    return read


def _parquet(file: BinaryIO) -> Iterator[Fields]:
    pq = library("pyarrow.parquet", "bulk")
    try:
        batches = pq.ParquetFile(file).iter_batches(BATCH)
        for batch in batches:
            yield from ((fields, "") for fields in batch.to_pylist())
    except library("pyarrow", "bulk").ArrowInvalid as error:
        raise EOFError(str(error)) from error


READERS: dict[str, Callable[[BinaryIO], Iterator[Fields]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
