"""The decision log's database, SQLite or PostgreSQL: connections, migrations and SQL."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.common.errors import MonokuError
from inference.common.files import private_file
from inference.common.fork import Hold
from inference.common.places import Place, database
from inference.common.postgresql import connect_arguments, cut_after
from inference.common.sqlite import inode, log_ahead, open_file, scrub
from inference.log.limits import USUAL, Limits
from inference.log.rows import KEPT, TABLES, Count, R, Row, TrialAnswer, from_record, to_record
from inference.log.schema import MIGRATIONS, PARTS, counts_query, inserts, rows_query, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FORGOTTEN_AT_ONCE = 500
_MIGRATION_LOCK = 740122
_SECRET = "SELECT value FROM secret WHERE id = 1"


class LogError(MonokuError):
    """The log cannot be read or written. The message is one line and says why."""


class Store:
    """One database. `write` and `close` are for one thread at a time and keep a connection; the rest open their own.

    Raises ValueError if the URL has another form or an extra is missing; every method raises LogError.
    """

    def __init__(self, url: str | Path, limits: Limits = USUAL) -> None:
        self.limits = limits
        place = database(url, "the decision log")
        self.name, self._file = place.name, place.file
        try:
            self._engine = self._make_engine(place)
        except ImportError as error:
            extra = "postgres" if error.name == "psycopg" else "log"
            raise ValueError(f'the decision log needs pip install "monoku[{extra}]"') from error
        self._connection: Connection | None = None
        self._hold: Hold | None = None
        self._inode: tuple[int, int] | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Commit rows, all or none. A row that is there already stays as it is. Makes the log where there is none."""
        if self._connection is not None and self._inode != self._found():
            self.close()  # else the rows would go into a file that was deleted
        for fresh in (self._connection is None, True):
            try:
                self._commit(rows)
                break
            except Exception as error:  # each driver has its own exceptions
                self.close()
                if fresh or not getattr(error, "connection_invalidated", False):
                    raise self._failure("written", error) from error
        if self._inode != self._found():
            self.close()
            raise LogError(f"the log {self.name} was deleted while it was written")

    def secret(self, fresh: str) -> str:
        """The secret of all who use the log: `fresh`, letters and digits, where it had none. Makes the log if need be.

        Of several processes that come at once, each is given the same.
        """
        try:
            with contextlib.closing(self._open(create=True)) as connection, self._limited(connection):
                found = connection.exec_driver_sql(_SECRET).scalar()
                connection.rollback()
                if found is None:
                    with self._transaction(connection):
                        connection.exec_driver_sql(f"INSERT INTO secret VALUES (1, '{fresh}') ON CONFLICT DO NOTHING")
                        found = connection.exec_driver_sql(_SECRET).scalar_one()
                return str(found)
        except Exception as error:  # each driver has its own exceptions
            raise self._failure("read", error) from error

    def close(self) -> None:
        """Close the connection that `write` keeps."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = self._hold = None

    def rest(self) -> None:
        """Close what must not be open while a process forks (see open_file)."""
        if self._file is not None:
            self.close()

    def abandon(self) -> None:
        """Leave the connection to the parent: what a forked child does first."""
        self._connection = self._hold = None

    def read(
        self, kind: type[R], since: float, until: float | None, which: str = "", ids: Sequence[str] | None = None
    ) -> Iterator[R]:
        """Rows of one kind with since <= time < until, in the order of time; of `ids` alone where they are given.

        `which`: a condition in SQL.
        """
        with self._reading() as connection:
            for record in _stream(connection, rows_query(kind, since, until, which, ids)):
                yield from_record(kind, record)

    def select(self, query: Any) -> list[Any]:
        """All rows of a query of `inference.log.schema`, as tuples."""
        with self._reading() as connection:
            return list(connection.execute(query).all())

    def counts(self, since: float, until: float | None, kind: str = "") -> Iterator[Count]:
        """All writers' counts with since <= hour < until, added up; of all kinds, or of one."""
        with self._reading() as connection:
            for record in _stream(connection, counts_query(since, until, kind)):
                yield Count(record["hour"], record["kind"], record["key"], int(record["n"]))

    def purge(self, before: float) -> int:
        """Delete all that is older; the number of rows that went. A few thousand at a time, so that nobody waits."""
        gone = 0
        while some := self.purge_some(before):
            gone += some
        return gone

    def purge_some(self, before: float, counts: bool = True) -> int:
        """Delete a few thousand rows of each table that are older; how many went. `counts`: of that table as well."""
        gone = 0
        with self._reading() as connection:
            for name in itertools.chain.from_iterable(PARTS.values()):
                age = "hour" if name == "counts" else "time"
                # What broke a promise outlives the rows that did: it is not for the clock to end a suspension.
                old = f"{age} < {float(before)!r}" + (f" AND kind <> '{KEPT}'" if name == "counts" else "")
                place = "ctid" if self._file is None else "rowid"
                some = f"SELECT {place} FROM {name} WHERE {old} LIMIT {self.limits.purged_at_once}"
                if counts or name != "counts":
                    with self._limited(connection), self._transaction(connection):
                        done = connection.exec_driver_sql(f"DELETE FROM {name} WHERE {place} IN ({some})")
                    gone += done.rowcount if name in TABLES.values() else 0
        return gone

    def forget(self, unwanted: Callable[[str], bool]) -> int:
        """Delete every row whose text is `unwanted`, down to its bytes in the file; how many went. Reads all rows."""
        gone = 0
        with self._reading() as connection:
            for kind in TABLES:
                gone += self._forget(connection, kind, unwanted) if kind not in (Count, TrialAnswer) else 0
            self._scrub(connection)
        return gone

    def _forget(self, connection: Connection, kind: type[Row], unwanted: Callable[[str], bool]) -> int:
        import sqlalchemy as sa

        parts = tables()[kind]
        rows = _stream(connection, sa.select(parts[0].c.id, parts[0].c.text))
        ids = [row["id"] for row in rows if unwanted(row["text"])]
        connection.rollback()
        for start in range(0, len(ids), FORGOTTEN_AT_ONCE):
            some = ids[start : start + FORGOTTEN_AT_ONCE]
            with self._transaction(connection):
                for table in parts:
                    connection.execute(sa.delete(table).where(table.c.id.in_(some)))
        return len(ids)

    def _scrub(self, connection: Connection) -> None:
        """Leave no bytes of deleted rows."""
        raw: Any = connection.connection.driver_connection
        if self._file is None:
            raw.autocommit = True
            for name in itertools.chain.from_iterable(PARTS.values()):
                raw.execute(f"VACUUM {name}")
            return
        if not scrub(raw):
            raise LogError(f"the rows are deleted, but {self.name} is in use and its -wal file keeps them: run again")

    def _make_engine(self, place: Place) -> Engine:
        import sqlalchemy as sa

        if place.file is not None:
            return sa.create_engine("sqlite://", poolclass=sa.NullPool, creator=self._open_file)
        arguments = connect_arguments(place.url, "the decision log", self.limits.hung_s)
        return sa.create_engine("postgresql+psycopg://", poolclass=sa.NullPool, connect_args=arguments)

    def _commit(self, rows: Sequence[Row]) -> None:
        if self._connection is None:
            self._connection = self._open(create=True)
            self._hold = Hold(self._connection)
            self._inode = self._found()
        with self._limited(self._connection), self._transaction(self._connection):
            if not rows:  # an empty transaction says nothing of whether the log can be written
                self._connection.exec_driver_sql("UPDATE counts SET n = n WHERE hour < 0")
            for kind in TABLES:
                records = [to_record(row) for row in rows if type(row) is kind]
                for statement, values in inserts(kind, self._engine.dialect.name, records) if records else ():
                    self._connection.execute(statement, values)

    @contextlib.contextmanager
    def _transaction(self, connection: Connection) -> Iterator[None]:
        """A transaction that may write, and that waits for another's lock, but not without end."""
        with connection.begin():
            wait = f"SET LOCAL lock_timeout = {round(self.limits.locked_s * 1000)}"
            connection.exec_driver_sql(wait if self._file is None else "BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def _limited(self, connection: Connection) -> Iterator[None]:
        """Cut the connection to a server that hangs: the driver itself has no limit."""
        if self._file is not None:
            yield
            return
        raw: Any = connection.connection.driver_connection
        with cut_after(self.limits.hung_s, raw.fileno()):
            yield

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with contextlib.closing(self._open(create=False)) as connection:
                yield connection
        except LogError:
            raise
        except Exception as error:
            raise self._failure("read", error) from error

    def _open(self, create: bool) -> Connection:
        """A connection to a log in the newest schema."""
        if self._file is not None and create:
            private_file(self._file)
        elif self._file is not None and not self._file.is_file():
            raise LogError(f"there is no decision log at {self.name}")
        connection = self._engine.connect()
        try:
            with self._limited(connection):
                if self._version(connection, create) < len(MIGRATIONS):
                    self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self, connection: Connection, create: bool) -> int:
        """The schema's version, 0 where there is nothing yet."""
        import sqlalchemy as sa

        found: int | None = None
        if sa.inspect(connection).has_table("schema_version"):
            found = connection.exec_driver_sql("SELECT max(version) FROM schema_version").scalar()
        connection.rollback()
        if found is None and not create:
            raise LogError(f"{self.name} is not a decision log")
        if found is not None and found > len(MIGRATIONS):
            known = len(MIGRATIONS)
            raise LogError(
                f"the log {self.name} has schema {found}, this version of monoku reads up to {known}: upgrade monoku"
            )
        return found or 0

    def _migrate(self, connection: Connection) -> None:
        if self._file is not None:
            raw: Any = connection.connection.driver_connection
            log_ahead(raw, self.limits.locked_s)
        with self._transaction(connection):
            if self._file is None:
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                if connection.exec_driver_sql("SHOW server_encoding").scalar() != "UTF8":
                    raise LogError(f"the log {self.name} must be in a database whose encoding is UTF8")
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
            version = connection.exec_driver_sql("SELECT coalesce(max(version), 0) FROM schema_version").scalar_one()
            for number, statements in enumerate(MIGRATIONS[version:], version + 1):
                for statement in statements:
                    connection.exec_driver_sql(statement)
                connection.exec_driver_sql(f"INSERT INTO schema_version (version) VALUES ({number})")

    def _open_file(self) -> sqlite3.Connection:
        connection = open_file(str(self._file), self.limits.locked_s)
        connection.execute("PRAGMA secure_delete = ON")  # what is purged is gone from the file
        return connection

    def _found(self) -> tuple[int, int] | None:
        """Which file has the log's name now."""
        return inode(self._file) if self._file else None

    def _failure(self, verb: str, error: Exception) -> LogError:
        if isinstance(error, LogError):
            return error
        # The first line alone: what a server says further down may repeat a row, and with it somebody's text.
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0][:200]
        return LogError(f"the log {self.name} cannot be {verb}: {reason}")


def _stream(connection: Connection, query: Any) -> Iterator[Any]:
    with connection.execute(query, execution_options={"yield_per": 1000}) as result:
        yield from result.mappings()
