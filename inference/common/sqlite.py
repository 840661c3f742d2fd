"""What the ledger's and the decision log's SQLite files have in common."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from inference.common.fork import ProcessLocal, keep, register

Inode = tuple[int, int] | None
# What SQLite says where a file system does not do what it needs.
_NO_LOCKS = ("locking protocol", "disk i/o error")


def open_file(path: str | Path, wait_s: float) -> sqlite3.Connection:
    """A connection for any thread, which waits `wait_s` seconds for another's lock. Raises sqlite3.Error.

    Close it when it is not in use. SQLite keeps its locks in tables by file that a forked child inherits and believes:
    of a file that is open as its parent is forked, a child is refused another connection.
    """
    if inode(path) in _files.cut_off:
        raise sqlite3.OperationalError("this process was forked while its parent used the file: start it anew")
    url = f"file:{quote(str(path))}" + ("?immutable=1" if _frozen(path) else "")
    connection = sqlite3.connect(
        url, wait_s, isolation_level=None, check_same_thread=False, uri=True, factory=_Connection
    )
    _files.open[connection] = inode(path)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _frozen(path: str | Path) -> bool:
    """Whether a file can only be read where it is: SQLite has no room there for the files of a write-ahead log."""
    path = Path(path)
    return path.exists() and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()


def inode(path: str | Path) -> Inode:
    """Which file has the name now; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def log_ahead(connection: sqlite3.Connection, wait_s: float) -> None:
    """Give the connection's file a write-ahead log, which it then keeps. Raises sqlite3.Error if it stays locked.

    The change needs the file for itself, and SQLite's own wait for a lock does not cover it: of processes that open a
    new file together, one would fail at once. Where there can be no write-ahead log the file keeps its rollback
    journal: then who reads is waited for.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            text = str(error).lower()
            late = time.monotonic() > deadline
            if any(words in text for words in _NO_LOCKS) and (late or "protocol" not in text):
                raise sqlite3.OperationalError(
                    f"{error}: the file must be on a local disk, not on a network file system; give another place, or "
                    "a postgresql:// URL"
                ) from error
            if late or not any(words in text for words in ("locked", "locking protocol")):
                raise
        time.sleep(0.02)


def scrub(connection: sqlite3.Connection) -> bool:
    """Leave no bytes of deleted rows in the connection's file; False while another one reads its write-ahead log.

    SQLite copies rows from page to page, and secure_delete misses the old copies.
    """
    connection.execute("VACUUM")
    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


class _Connection(sqlite3.Connection):
    def close(self) -> None:
        """Close it, unless it is a parent's."""
        if self in _files.open:
            super().close()
            _files.open.pop(self, None)  # last, since a process may be forked in the middle of it


class _Files(ProcessLocal):
    """The files that are open here, and those that must not be opened here again."""

    def __init__(self) -> None:
        self.open: dict[sqlite3.Connection, Inode] = {}
        self.cut_off: set[Inode] = set()
        register(self)

    def after_fork(self) -> None:
        """Leave the parent's connections alone: the program that closes one may damage the file."""
        for connection, found in self.open.items():
            keep(connection)
            self.cut_off.add(found)
        self.open = {}


_files = _Files()
