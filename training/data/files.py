"""A data file as text: gzipped or not, its ending in any case, in the encoding that it has."""

from __future__ import annotations

import codecs
import collections
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_HEAD = 16  # bytes by which UTF-16 without a mark is known: every data file begins with ASCII
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook; save it as CSV in UTF-8",
    b"PAR1": "a Parquet file; let its name end in .parquet",
}


def format_of(path: Path) -> str:
    """The ending that says how a file is read, ".csv" of Train.CSV.gz; "" where there is none that is known."""
    name = path.name.lower().removesuffix(".gz")
    return next((ending for ending in FORMATS if name.endswith(ending)), "")


def stem_of(path: Path) -> str:
    """The file's name in lower case, without its ending and without the number of a part, as in -00000-of-00002."""
    return _PART.sub("", _bare(path))


def _bare(path: Path) -> str:
    return path.name.lower().removesuffix(".gz").removesuffix(format_of(path))


def missing_parts(files: Iterable[Path]) -> list[str]:
    """What to say of files that are parts, as in train-00000-of-00002, where others of theirs are not there."""
    found = collections.defaultdict[tuple[str, int], set[int]](set)
    for path in files:
        if part := _PART.search(_bare(path)):
            found[stem_of(path), int(part[2])].add(int(part[1]))
    return [
        f"of the {count} parts of {stem} only {len(numbers)} are there"
        for (stem, count), numbers in found.items()
        if len(numbers) < count
    ]


def content(path: Path) -> bytes:
    """The file's bytes, unpacked where it is gzipped, whatever it is called. Raises ValueError if it is damaged."""
    data = path.read_bytes()
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: the gzip file is damaged or cut off: {error}") from error


def encoding_of(data: bytes) -> str:
    """UTF-16 or UTF-32 where the first bytes say so, with a byte order mark or by their zeros; else UTF-8."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    even, odd = (data[start:_HEAD:2].count(0) for start in (0, 1))
    if max(even, odd) >= 3 and not min(even, odd):
        return "utf-16-le" if odd else "utf-16-be"
    return "utf-8"


def text_of(path: Path, encoding: str = "", or_latin: bool = False) -> str:
    """The file's text, without a byte order mark, in the given encoding or in the one that is found.

    With `or_latin` text that is not UTF-8 in any line is read as Windows-1252, which latin-1 is a part of, and that is
    told. Raises ValueError, naming the place, if the text cannot be read.
    """
    data = content(path)
    for mark, what in _OTHERS.items():
        if data.startswith(mark):
            raise ValueError(f"{path} is {what}")
    name = encoding or encoding_of(data)
    try:
        if encoding and b"\0" not in data and _is_wide(name) and _is_utf8(data):
            raise ValueError(f"{path} is UTF-8, not {name.upper()}: leave --encoding out")
        return data.decode(name).removeprefix("\ufeff")
    except LookupError:
        raise ValueError(f"unknown encoding {encoding!r}: expected a name such as utf-8, utf-16 or latin-1") from None
    except UnicodeDecodeError as error:
        if encoding or name != "utf-8" or not or_latin or _utf8_in_places(data):
            raise ValueError(_bad_byte(path, data, name, error)) from error
    return _as_latin(path, data)


def _is_wide(encoding: str) -> bool:
    """Whether a character takes two or four bytes, so that nearly every text of ours holds a zero."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def _as_latin(path: Path, data: bytes) -> str:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: neither UTF-8 nor Windows-1252; give --encoding") from error
    told = f"{path} is not UTF-8: read as Windows-1252 (latin-1); give --encoding if that is wrong"
    print(f"warning: {told}", file=sys.stderr)
    return text


def lines_of(path: Path, encoding: str = "") -> Iterable[bytes]:
    """The file's lines in UTF-8, for readers that name the line which is not."""
    data = content(path)
    if encoding or encoding_of(data) != "utf-8":
        data = text_of(path, encoding).encode("utf-8", "replace")
    return io.BytesIO(data)


def _utf8_in_places(data: bytes) -> bool:
    """Whether a line with other letters than ASCII is UTF-8: in another encoding hardly any happens to be."""
    return any(not line.isascii() and _is_utf8(line) for line in data.splitlines())


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bad_byte(path: Path, data: bytes, name: str, error: UnicodeDecodeError) -> str:
    if "16" in name or "32" in name:
        return f"{path}: not {name.upper()}: {error.reason} at byte {error.start + 1}; is the file cut off?"
    line = data.count(b"\n", 0, error.start) + 1
    column = error.start - data.rfind(b"\n", 0, error.start)
    said = f"{path}:{line}: not {name.upper()}: {error.reason} at byte {column} of the line"
    return f"{said}; mend the line, or give --encoding if the whole file has another"


def check_output(out: Path, data: str) -> None:
    """Make the folder of a file that is to be written. To be called before the work whose result it will hold.

    Raises ValueError where the file is one of `data`, or a folder, OSError where nothing can be written there.
    """
    read = Path(data)
    sources = [*read.iterdir()] if read.is_dir() else [read] if data else []
    if out.exists() and any(source.exists() and out.samefile(source) for source in sources):
        raise ValueError(f"{out} is a file of the data itself, and would be replaced: give another file")
    if out.is_dir():
        raise ValueError(f"{out} is a folder: give the name of a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(out.parent, os.W_OK):
        raise PermissionError(f"no permission to write into {out.parent}")
