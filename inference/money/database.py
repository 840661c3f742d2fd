"""The spend ledger's database, a file of SQLite or a PostgreSQL: connections, tables and SQL."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.common.files import private_file
from inference.common.postgresql import connect_arguments, cut_after
from inference.common.sqlite import log_ahead, open_file

LOCKED_S = 10.0  # how long a transaction waits for another's
HUNG_S = 10.0  # a server that takes longer for a transaction is given up
STALE_S = 900.0  # no call lasts this long: its process died
_TABLES = (
    "CREATE TABLE IF NOT EXISTS spend (period TEXT PRIMARY KEY, nano BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS reservations (id TEXT PRIMARY KEY, period TEXT NOT NULL, nano BIGINT NOT NULL, "
    "made DOUBLE PRECISION NOT NULL, unsure INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS receipts (id TEXT PRIMARY KEY, made DOUBLE PRECISION NOT NULL, body TEXT NOT NULL)",
    # Which ledger this is, and what was carried over from one that was here before it and is gone.
    "CREATE TABLE IF NOT EXISTS ledger (id TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS carried (ledger TEXT NOT NULL, period TEXT NOT NULL, nano BIGINT NOT NULL, "
    "PRIMARY KEY (ledger, period))",
)
# Reservations that nobody settled stay for ever: without these, every call reads all of them.
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS reservations_open ON reservations (made) WHERE unsure = 0",
    "CREATE INDEX IF NOT EXISTS reservations_period ON reservations (period)",
)
_LACKS_INDEXES = (  # and may have them: who owns the table decides that, not who uses it
    "SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE') "
    "AND to_regclass('reservations_period') IS NULL FROM pg_class WHERE oid = to_regclass('reservations')"
)
RESERVATION = "INSERT INTO reservations (id, period, nano, made) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
RECEIPT = "INSERT INTO receipts (id, made, body) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"
# One transaction at a time, by a lock that is no table's: who reads the tables, as a dump does, holds up nobody. What
# is read must be no older than the lock, so the isolation is not left to the server's default. Processes of 0.2.0 and
# before lock the table against every reader: reading it waits for them.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 5000; "
    "SELECT pg_advisory_xact_lock(740123); LOCK TABLE spend IN ACCESS SHARE MODE"
)
_FIGURES = (
    "SELECT (SELECT min(id) FROM ledger), (SELECT nano FROM spend WHERE period = ?), "
    "sum(CASE unsure WHEN 1 THEN nano END), sum(CASE unsure WHEN 0 THEN nano END) FROM reservations WHERE period = ?"
)


@dataclass(frozen=True, slots=True)
class Spent:
    """Nano-dollars of one period: measured; perhaps charged (answers that never arrived); reserved by open calls."""

    measured: int
    unsure: int
    reserved: int

    @property
    def counted(self) -> int:
        """All of it: what counts against the cap."""
        return self.measured + self.unsure + self.reserved


class Run:
    """Runs the statements of one transaction; on a file, one after the other."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._figures: dict[str, tuple[str | None, Spent]] = {}  # as long as nothing is written

    def begin(self) -> None:
        """Begin the transaction, alone among all."""
        self._connection.execute("BEGIN IMMEDIATE")

    def __call__(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement with its values; the rows of one that begins with SELECT."""
        if statement.startswith("SELECT"):
            return self._rows(statement, values)
        self._figures.clear()
        self._write(statement, values)
        return []

    def figures(self, period: str) -> tuple[str | None, Spent]:
        """The ledger's id, None where it has none yet, and a period's figures."""
        if period not in self._figures:
            self._figures[period] = _figures(self._rows(_FIGURES, (period, period)))
        return self._figures[period]

    def commit(self, period: str) -> Spent:
        """End the transaction; a period's figures then."""
        spent = self.figures(period)[1]
        self._connection.commit()
        return spent

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        return list(self._connection.execute(statement, values).fetchall())

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._connection.execute(statement, values)


class ServerRun(Run):
    """On a server every message counts, as the others wait meanwhile: what is written goes with the next one read, and
    with the end of the transaction."""

    def __init__(self, connection: Any) -> None:
        from psycopg import ClientCursor

        super().__init__(connection)
        self._waiting: list[str] = []
        self._whole = ClientCursor(connection).mogrify  # a statement with its values in it: several make one message

    def begin(self) -> None:
        """Begin the transaction with the next message: only what is read then is known to have begun."""
        self._waiting.append(_BEGIN)

    def commit(self, period: str) -> Spent:
        """See Run."""
        known = self._figures.get(period)
        if known is None:
            self._write(_FIGURES, (period, period))
        self._waiting.append("COMMIT")
        results = self._send()
        return (known or _figures(results[-2]))[1]

    def _rows(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        self._write(statement, values)
        return self._send()[-1]

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        self._waiting.append(self._whole(statement.replace("?", "%s"), values))

    def _send(self) -> list[list[Any]]:
        """Send what waits; the rows of each statement."""
        message, self._waiting = "; ".join(self._waiting), []
        cursor, results = self._connection.execute(message), []
        while True:
            results.append(cursor.fetchall() if cursor.description else [])
            if not cursor.nextset():
                return results


def _figures(rows: list[Any]) -> tuple[str | None, Spent]:
    ((name, *nano),) = rows
    return name, Spent(*(int(value or 0) for value in nano))


def open_sqlite(path: Path) -> sqlite3.Connection:
    """A connection to a ledger's file, which is made where there is none."""
    private_file(path)
    connection = open_file(path, LOCKED_S)
    try:
        log_ahead(connection, LOCKED_S)
        for made in (*_TABLES, *_INDEXES):
            connection.execute(made)
    except BaseException:
        connection.close()
        raise
    return connection


def server(url: str) -> dict[str, Any]:
    """The arguments of open_postgresql. Raises ValueError if the URL is invalid or the extra is missing."""
    try:
        return connect_arguments(url, "the spend ledger", 5.0)
    except ImportError as error:
        raise ValueError('a ledger in PostgreSQL needs pip install "monoku[postgres]"') from error


def open_postgresql(arguments: dict[str, Any]) -> Any:
    """A connection to a ledger on a server, which is made where there is none."""
    import psycopg

    connection = psycopg.connect(**arguments, autocommit=True)
    try:
        with cut_after(HUNG_S, connection.fileno()):
            if connection.execute("SELECT to_regclass('carried')").fetchone() == (None,):
                # Two processes that create a table at once would collide.
                connection.execute("; ".join(["BEGIN", "SELECT pg_advisory_xact_lock(740121)", *_TABLES, "COMMIT"]))
            if connection.execute(_LACKS_INDEXES).fetchone() == (True,):
                _index(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _index(connection: Any) -> None:
    """Make the indexes, in a database of an earlier version too; without them it works as well, only slower."""
    import psycopg

    limits = ("SET LOCAL lock_timeout = 1000", "SET LOCAL statement_timeout = 3000")
    try:
        connection.execute("; ".join(["BEGIN", *limits, "SELECT pg_advisory_xact_lock(740121)", *_INDEXES, "COMMIT"]))
    except psycopg.Error:
        connection.execute("ROLLBACK")


def doubt_stale(run: Run, now: float) -> None:
    """Count what nobody has settled in time as perhaps charged."""
    run("UPDATE reservations SET unsure = 1 WHERE unsure = 0 AND made < ?", now - STALE_S)


def reserve_again(run: Run, reservations: Mapping[str, tuple[str, int, float]]) -> None:
    """Put reservations (period, nano-dollars, when) where they are not, by id."""
    for reservation, (period, nano, made) in list(reservations.items()):
        run(RESERVATION, reservation, period, nano, made)


def settle(run: Run, reservation: str, nano: int) -> None:
    """Replace a reservation by what was charged; nothing where it was settled before."""
    run(
        "INSERT INTO spend (period, nano) SELECT period, ? FROM reservations WHERE id = ? "
        "ON CONFLICT (period) DO UPDATE SET nano = spend.nano + excluded.nano",
        nano,
        reservation,
    )
    run("DELETE FROM reservations WHERE id = ?", reservation)


def add(run: Run, period: str, nano: int) -> None:
    """Add to what a period is measured to have spent."""
    run(
        "INSERT INTO spend (period, nano) VALUES (?, ?) "
        "ON CONFLICT (period) DO UPDATE SET nano = spend.nano + excluded.nano",
        period,
        nano,
    )


def measured(run: Run, period: str) -> int:
    """What a period is measured to have spent."""
    return run.figures(period)[1].measured


def named(run: Run, period: str) -> tuple[str, int]:
    """The ledger's id, which it is given where it has none, and what a period is measured to have spent."""
    name, spent = run.figures(period)
    if name is None:
        name = uuid.uuid4().hex
        run("INSERT INTO ledger (id) VALUES (?)", name)
    return str(name), spent.measured


def not_carried(run: Run, before: str, period: str, known: int) -> int:
    """What is still to be added of `known` nano-dollars that the ledger `before`, now gone, had of a period.

    It counts as carried over from now on: of several processes that knew that ledger each adds what the others did not
    know.
    """
    found = run("SELECT nano FROM carried WHERE ledger = ? AND period = ?", before, period)
    carried = int(found[0][0]) if found else 0
    if known > carried:
        run(
            "INSERT INTO carried (ledger, period, nano) VALUES (?, ?, ?) "
            "ON CONFLICT (ledger, period) DO UPDATE SET nano = excluded.nano",
            before,
            period,
            known,
        )
    return max(0, known - carried)
