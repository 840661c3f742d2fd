"""Where the decision log's rows end: in its database or, while that fails, in spill files, until it is back.

Spill files hold JSON lines, fsynced. Every process appends to a file of its own and holds a lock on it for as long as
it lives; a file without a living owner belongs to whoever locks it first.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from inference.common.files import drop_lines, fsync, private_folder
from inference.common.fork import keep
from inference.common.logs import Condition
from inference.common.text import Forgotten
from inference.log.database import LogError, Store
from inference.log.rows import Correction, Count, Decision, Row, TeacherAnswer, TrialAnswer, to_values

KINDS: dict[str, type[Any]] = {
    "decision": Decision, "answer": TeacherAnswer, "correction": Correction, "trial": TrialAnswer, "count": Count,
}  # fmt: skip
NAMES = {kind: name for name, kind in KINDS.items()}
ROWS_AT_ONCE = 500


class Spill:
    """One process's view of a spill folder. For one thread at a time.

    `rows_at_once` are read back at a time. `unread`: there may be rows to read back. `unreadable` counts whole lines
    that are no rows; their file is kept.
    """

    def __init__(self, folder: Path, rows_at_once: int = ROWS_AT_ONCE) -> None:
        self.folder, self.rows_at_once = folder, rows_at_once
        self.unread = True
        self.unreadable = 0
        self._own: io.FileIO | None = None
        self._path = folder
        self._read: io.FileIO | None = None
        self._spoilt: set[Path] = set()

    def append(self, rows: Sequence[Row]) -> None:
        """Write rows and fsync: all of them or, where that fails with OSError, none."""
        if self._own is not None and _is_deleted(self._own):
            self._own.close()
            self._own = None
        if self._own is None:
            self._own, self._path = _create(self.folder)
        self.unread = True
        end = self._own.seek(0, os.SEEK_END)
        try:
            _write(self._own, b"".join(map(_line, rows)))
            os.fsync(self._own.fileno())
            if _is_deleted(self._own):
                raise FileNotFoundError(f"{self._path} was deleted while it was written")
        except OSError:
            with contextlib.suppress(OSError):
                self._own.truncate(end)
            raise

    def chunks(self) -> Generator[list[Row], None, None]:
        """The rows of all files that no other process holds. Asking for the next chunk says that the last is committed.

        A file is removed once all of its rows are. Raises OSError if one cannot be read.
        """
        for path in sorted(self.folder.glob("*.jsonl")):
            with self._hold(path) as held:
                if held and path not in self._spoilt:
                    yield from self._chunks_of(path)
        self.unread = False

    def drop(self, unwanted: Callable[[bytes], bool]) -> tuple[int, int]:
        """Rewrite all files that no other process holds without the lines that are `unwanted`.

        How many lines went, and how many are left in files of others. Raises OSError if a file cannot be read or
        written.
        """
        self.close()
        gone = left = 0
        for path in sorted(self.folder.glob("*.jsonl")):
            with self._hold(path) as held:
                if held:
                    gone += drop_lines(path, unwanted)
                elif path.is_file():
                    left += sum(map(unwanted, path.read_bytes().splitlines(keepends=True)))
        return gone, left

    def close(self) -> None:
        """Leave this process's file to whoever comes next; an empty one goes."""
        if self._own is not None and self._own.seek(0, os.SEEK_END) == 0:
            self._path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let go of all files as they are: a forked child must not hold its parent's locks."""
        for file in (self._own, self._read):
            if file is not None:
                file.close()
        self._own = self._read = None

    def _chunks_of(self, path: Path) -> Iterator[list[Row]]:
        broken = self.unreadable
        with path.open("rb") as lines:
            # The end is looked for again after every chunk: rows may have been appended since.
            while rows := list(itertools.islice(self._rows(lines), self.rows_at_once)):
                yield rows
        if self.unreadable > broken:
            self._spoilt.add(path)
            return
        path.unlink(missing_ok=True)
        if self._own is not None and path == self._path:
            self._own.close()
            self._own = None

    def _rows(self, lines: Iterable[bytes]) -> Iterator[Row]:
        for line in lines:
            if not line.endswith(b"\n"):
                return  # torn by a kill before anybody was told that it is kept
            try:
                values = json.loads(line)
                row: Row = KINDS[values.pop("row")](**values)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                self.unreadable += 1
                continue
            yield row

    @contextlib.contextmanager
    def _hold(self, path: Path) -> Iterator[bool]:
        """Lock a file while it is read, unless it is this process's own; False where another holds it."""
        if self._own is not None and path == self._path:
            yield True
            return
        try:
            self._read = io.FileIO(path)
        except FileNotFoundError:  # another process has just read it back
            yield False
            return
        with self._read as file:
            yield _lock(file) and not _is_deleted(file)


class Sink:
    """The database and, for as long as that fails, the spill folder, if there is one. For one thread at a time.

    `error` is what went wrong last, None once the database takes rows again.
    """

    def __init__(self, store: Store, folder: Path | None) -> None:
        self.store = store
        self.spill = None if folder is None else Spill(folder)
        self.error: str | None = None
        self._reading: Generator[list[Row], None, None] | None = None
        self._pause_s, self._retry_at = store.limits.first_pause_s, 0.0
        self._no_database = Condition("log", f"the decision log {store.name} takes rows again")
        self._no_folder = Condition("log", f"the spill folder {folder} takes rows again")

    def commit(self, rows: Sequence[Row]) -> bool:
        """Into the database, unless it failed a moment ago."""
        if time.monotonic() < self._retry_at:
            return False
        try:
            self.store.write(rows)
        except Exception as error:  # LogError, or what nobody thought of
            self.error = str(error) or type(error).__name__
            where = "into memory" if self.spill is None else "into the spill folder"
            self._no_database.begin("the decision log is out of reach, rows go %s: %s", where, error)
            self._retry_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, self.store.limits.longest_pause_s)
            return False
        self.error, self._pause_s = None, self.store.limits.first_pause_s
        self._no_database.end()
        return True

    def save(self, rows: Sequence[Row]) -> bool:
        """Into the spill folder."""
        if self.spill is None:
            return False
        try:
            self.spill.append(rows)
        except OSError as error:
            self.error = f"{self.error}; the spill folder cannot be written either: {error}"
            self._no_folder.begin("the spill folder cannot be written, rows go into memory: %s", error)
            return False
        self._no_folder.end()
        return True

    def read_back(self) -> int:
        """Commit the next chunk of what was spilled; how many rows it had, 0 when there is no more, or not yet."""
        if self.spill is None or not self.spill.unread or time.monotonic() < self._retry_at:
            return 0
        self._reading = self._reading or self.spill.chunks()
        try:
            rows = next(self._reading, None)
        except OSError as error:
            self.error, rows = f"the spill folder cannot be read: {error}", None
        if rows and self.commit(rows):
            return len(rows)
        self._stop_reading()
        return 0

    def drop(self, unwanted: Callable[[bytes], bool]) -> tuple[int, int]:
        """Drop lines from the spill files, as Spill.drop does. The spill files are let go of first."""
        self._stop_reading()
        return (0, 0) if self.spill is None else self.spill.drop(unwanted)

    def forget(self, forgotten: Forgotten) -> int:
        """Drop a text from the spill files; how many lines. Raises LogError where another process holds one with it."""
        try:
            gone, left = self.drop(forgotten.in_line)
        except OSError as error:
            raise LogError(f"the spill folder cannot be rewritten: {error}") from error
        if left:
            raise LogError("another process still holds spilled rows: run again once the log has taken them")
        return gone

    def hurry(self) -> None:
        """Try the database again at the next call, however lately it failed."""
        self._retry_at = 0.0

    def let_go(self) -> None:
        """Close everything; a later call opens it again."""
        self.store.close()
        self._stop_reading()
        if self.spill is not None:
            self.spill.close()

    def abandon(self) -> None:
        """Leave all to the parent: what a forked child does first."""
        self.store.abandon()
        if self.spill is not None:
            self.spill.abandon()
        self.error, self._pause_s, self._retry_at = None, self.store.limits.first_pause_s, 0.0
        keep(self._reading)  # closing it would go on with what the parent may be in the middle of
        self._reading = None

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None


def _create(folder: Path) -> tuple[io.FileIO, Path]:
    """A new file, locked before it has the name by which others look for it."""
    private_folder(folder)
    draft = folder / f".{uuid.uuid4().hex}"
    file = io.FileIO(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600), "r+")
    try:
        _lock(file)
        path = draft.rename(folder / f"{draft.name[1:]}.jsonl")
        fsync(folder)
    except OSError:
        file.close()
        draft.unlink(missing_ok=True)
        raise
    return file, path


def _lock(file: io.FileIO) -> bool:
    try:
        import fcntl
    except ImportError:
        raise OSError("spill files need POSIX file locks, which this system does not have") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_deleted(file: io.FileIO) -> bool:
    return os.fstat(file.fileno()).st_nlink == 0


def _line(row: Row) -> bytes:
    return json.dumps({"row": NAMES[type(row)], **to_values(row)}).encode() + b"\n"


def _write(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
