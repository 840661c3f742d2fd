import contextlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.common.fork import notice
from inference.common.sqlite import log_ahead, open_file, scrub
from inference.log.decision_log import DecisionLog
from tests.forks import FORKS, holds_in_child, needs_fork
from tests.logged import decision


def _file_held_by_another(path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE rows (id INTEGER)")
    holder.execute("BEGIN EXCLUSIVE")
    return holder


def test_waits_for_a_file_that_another_connection_holds(tmp_path: Path) -> None:
    holder = _file_held_by_another(tmp_path / "a.db")
    connection = sqlite3.connect(tmp_path / "a.db", timeout=0)
    release = threading.Timer(0.2, holder.execute, ["COMMIT"])
    release.start()
    log_ahead(connection, wait_s=30)
    release.join()
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    holder.close()
    connection.close()


def test_gives_up_once_the_wait_is_over(tmp_path: Path) -> None:
    holder = _file_held_by_another(tmp_path / "a.db")
    connection = sqlite3.connect(tmp_path / "a.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        log_ahead(connection, wait_s=0.1)
    holder.close()
    connection.close()


def test_another_error_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"no database" * 500)
    connection = sqlite3.connect(tmp_path / "junk.db")
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        log_ahead(connection, wait_s=600)
    connection.close()


class Failing(sqlite3.Connection):
    """A file on a disk that fails: `errors` come first."""

    errors: tuple[str, ...] = ()

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if self.errors:
            error, *rest = self.errors
            self.errors = tuple(rest)
            raise sqlite3.OperationalError(error)
        return super().execute(*arguments)


@pytest.mark.parametrize("error", ["locking protocol", "disk I/O error"])
def test_a_file_system_without_the_locks_is_named(error: str, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", factory=Failing)) as connection:
        connection.errors = (error,) * 1000
        with pytest.raises(sqlite3.OperationalError, match=f"{error}: the file must be on a local disk"):
            log_ahead(connection, wait_s=0.1)


def test_a_locking_protocol_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db", factory=Failing)) as connection:
        connection.errors = ("locking protocol", "database is locked")
        log_ahead(connection, wait_s=30)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_that_cannot_have_a_write_ahead_log_keeps_its_journal(tmp_path: Path) -> None:
    # This way of locking has no shared memory, which a write-ahead log needs.
    url = f"file:{tmp_path}/a.db?vfs=unix-dotfile"
    with contextlib.closing(sqlite3.connect(url, uri=True, isolation_level=None)) as connection:
        log_ahead(connection, wait_s=0.1)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        connection.execute("CREATE TABLE t (n INTEGER)")
        assert scrub(connection)


def test_many_connections_open_a_new_file_at_once(tmp_path: Path) -> None:
    start, failed = threading.Barrier(12), []

    def open_it(path: Path) -> None:
        start.wait()
        try:
            connection = sqlite3.connect(path, timeout=30)
            log_ahead(connection, wait_s=30)
            connection.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER)")
            connection.close()
        except sqlite3.Error as error:
            failed.append(error)

    for i in range(20):
        threads = [threading.Thread(target=open_it, args=[tmp_path / f"{i}.db"]) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []


def _used(path: Path, wait_s: float = 5.0) -> sqlite3.Connection:
    connection = open_file(path, wait_s)
    log_ahead(connection, wait_s)
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
    return connection


def _insert(path: Path, n: int) -> bool:
    with contextlib.closing(_used(path)) as connection:
        connection.execute("INSERT INTO t VALUES (?)", (n,))
    return True


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_uses_a_file_that_was_closed_as_it_was_forked(fork: Callable[[], int], tmp_path: Path) -> None:
    _insert(tmp_path / "a.db", 1)
    assert holds_in_child(fork, lambda: notice() is None and _insert(tmp_path / "a.db", 2))
    with contextlib.closing(_used(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_leaves_alone_what_was_open_as_it_was_forked(fork: Callable[[], int], tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with contextlib.closing(_used(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO t VALUES (1)")

        def check() -> bool:
            notice()
            connection.close()
            with pytest.raises(sqlite3.OperationalError, match="start it anew"):
                open_file(path, 5.0)
            return _insert(tmp_path / "another.db", 1)

        assert holds_in_child(fork, check)
        connection.execute("COMMIT")
        assert connection.execute("SELECT n FROM t").fetchall() == [(1,)]


READ = """
import os, sys
from inference.log.decision_log import DecisionLog
path = sys.argv[1]
if os.getuid() == 0:  # to root no folder is read-only, and nobody else may read Python's own files: load them first
    list(DecisionLog(path).read_decisions())
    os.setuid(65534)
print(len(list(DecisionLog(path).read_decisions())), os.listdir(os.path.dirname(path)))
"""


def test_a_closed_log_in_a_read_only_folder_can_be_read(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # which another user may enter
        path = Path(folder) / "log.db"
        log = DecisionLog(path)
        log.put(decision("a"))
        log.close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False)
        Path(folder).chmod(0o755)
    assert (done.stdout, done.stderr) == ("1 ['log.db']\n", "")
