"""Records to classify, as people have them: JSON Lines, CSV, TSV or Parquet, gzipped or not, here or at a URL.

Files here need nothing but Python; Parquet needs pyarrow and a URL needs fsspec, both in the extra `bulk`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import zlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from inference.common import jsonl
from inference.common.extras import library
from inference.common.places import is_url
from inference.common.storage import shown, storage, told

FORMATS = (".jsonl", ".ndjson", ".txt", ".csv", ".tsv", ".parquet")
CHANGES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "modified", "created")
BATCH = 1024  # rows of a Parquet file that are held at once


class Record(NamedTuple):
    """The fields of one row and its text, or what is wrong with the row."""

    fields: dict[str, Any]
    text: str = ""
    error: str = ""


class Source(NamedTuple):
    """One file: its path or URL, what tells whether it is still the same, and the storage that knows how to open it."""

    name: str
    size: int
    modified: str
    system: Any = None

    @property
    def format(self) -> str:
        """The ending that says how it is read."""
        return Path(_path(self.name).removesuffix(".gz")).suffix.lower()

    @property
    def state(self) -> list[Any]:
        """What a resumed run must find as it was, without what may be secret."""
        return [safe(self.name), self.size, self.modified]


def sources(paths: Sequence[str], own: Container[str] = ()) -> list[Source]:
    """The files behind paths, folders and URLs, those of one folder in the order of their names.

    What a run writes itself, `own` (see `place`), is none of them, nor what lies in a folder of it. Raises ValueError
    where there is no file of a known format.
    """
    return [source for path in paths for source in (_remote(path, own) if is_url(path) else _local(Path(path), own))]


def safe(name: str) -> str:
    """A path or URL as it may be shown."""
    return shown(name) if is_url(name) else name


def place(name: str) -> str:
    """The one name of a file here or at a URL, whatever links lead there. Raises ValueError for an unknown storage."""
    if not is_url(name):
        return os.path.realpath(name)
    system, root = storage(name)
    return str(system.unstrip_protocol(root))


def exists(name: str) -> bool:
    """Whether there is a file or folder of this name. Raises ValueError if its storage cannot be asked."""
    if not is_url(name):
        return os.path.lexists(name)
    system, root = storage(name)
    with told(name, "looked for"):
        return bool(system.exists(root))


def _local(path: Path, own: Container[str]) -> list[Source]:
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    state = [(str(file.absolute()), file.stat()) for file in files if not _is_own(file, own)]
    return _known(str(path), [Source(name, s.st_size, str(s.st_mtime_ns)) for name, s in state])


def _is_own(file: Path, own: Container[str]) -> bool:
    real = Path(place(str(file)))
    return any(str(one) in own for one in (real, *real.parents))


def _remote(url: str, own: Container[str]) -> list[Source]:
    system, root = storage(url)
    with told(url, "listed"):
        found = sorted(system.find(root, detail=True).items())
    files = [
        Source(system.unstrip_protocol(name), int(about.get("size") or 0), _modified(about), system)
        for name, about in found
    ]
    return _known(shown(url), [source for source in files if source.name not in own])


def _modified(about: Mapping[str, Any]) -> str:
    """Every storage has its own word for what changes with a file."""
    return next((str(about[name]) for name in CHANGES if about.get(name)), "")


def _path(name: str) -> str:
    """Of a URL without what was signed for it."""
    return name.partition("?")[0] if is_url(name) else name


def _known(path: str, found: Sequence[Source]) -> list[Source]:
    known = [source for source in found if source.format in FORMATS]
    if not known:
        raise ValueError(f"{path} holds no file that ends with {', '.join(FORMATS)} (each may also end with .gz)")
    return known


def records(source: Source, text: str) -> Iterator[Record]:
    """Every row of a file in order; `text` is the name of the field that is classified.

    Raises ValueError if the file as a whole cannot be read. A row without such a field is a record with an error.
    """
    with opened(source.name, "rb", source.system) as file:
        try:
            for fields, error in READERS.get(source.format, _json_lines)(file):
                found = fields.get(text)
                if not error and not isinstance(found, str):
                    error = f"expected a string in the field `{text}`, the fields are {', '.join(fields) or 'none'}"
                yield Record(fields, error=error) if error else Record(fields, cast(str, found))
        except (EOFError, UnicodeDecodeError, gzip.BadGzipFile, zlib.error, csv.Error) as error:
            raise ValueError(f"{safe(source.name)} cannot be read as {source.format}: {error}") from error


@contextlib.contextmanager
def opened(name: str, mode: str, system: Any = None) -> Iterator[BinaryIO]:
    """A file here or in a storage, unpacked or packed where its name ends with .gz; `mode` is "rb" or "wb"."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_there(system, name, mode) if system else Path(name).open(mode))  # noqa: SIM115
        if _path(name).endswith(".gz"):
            file = stack.enter_context(gzip.GzipFile(fileobj=file, mode=mode))
        yield file


def _open_there(system: Any, name: str, mode: str) -> Any:
    with told(name, "opened"):
        return system.open(name, mode)


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
            table = csv.DictReader(lines, delimiter=separator, strict=True, restval="")
            if twice := _twice(table.fieldnames or ()):
                raise csv.Error(f"the header names {twice} twice")
            for row in table:
                extra = row.pop(None, None)
                yield dict(row), f"{len(extra)} cells more than the header has" if extra else ""

    return read


def _parquet(file: BinaryIO) -> Iterator[Fields]:
    pq = library("pyarrow.parquet", "bulk")
    try:
        table, before = pq.ParquetFile(file), 0
        if twice := _twice(table.schema_arrow.names):
            raise EOFError(f"it has {twice} as the name of two columns")
        for batch in table.iter_batches(BATCH):
            yield from _values(batch, before)
            before += len(batch)
    except library("pyarrow", "bulk").ArrowException as error:
        raise EOFError(str(error)) from error


def _values(batch: Any, before: int) -> Iterator[Fields]:
    """The rows of a batch; `before` is how many came earlier. A date that Python does not have spoils its row alone."""
    try:
        rows = batch.to_pylist()
    except OverflowError as error:
        if len(batch) == 1:
            yield {}, f"row {before + 1}: a date or time that cannot be read: {error}"
            return
        for i in range(len(batch)):
            yield from _values(batch.slice(i, 1), before + i)
    else:
        yield from ((fields, "") for fields in rows)


def _twice(names: Iterable[str]) -> str:
    return ", ".join(name for name, n in Counter(names).items() if n > 1)


READERS: dict[str, Callable[[BinaryIO], Iterator[Fields]]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
