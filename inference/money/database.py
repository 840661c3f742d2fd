"""The spend ledger's database, a file of SQLite or a PostgreSQL: connections, tables and SQL."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.common.files import private_file
from inference.common.postgresql import connect_arguments, cut_after
from inference.common.sqlite import log_ahead, open_file

Run = Callable[..., list[Any]]  # runs a statement with its values; the rows
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
RESERVATION = "INSERT INTO reservations (id, period, nano, made) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
RECEIPT = "INSERT INTO receipts (id, made, body) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING"
# One transaction at a time, by a lock that is no table's: who reads the tables, as a dump does, holds up nobody. What
# is read must be no older than the lock, so the isolation is not left to the server's default. Processes of 0.2.0 and
# before lock the table against every reader: reading it waits for them.
BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 5000; "
    "SELECT pg_advisory_xact_lock(740123); LOCK TABLE spend IN ACCESS SHARE MODE"
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


def open_sqlite(path: Path) -> sqlite3.Connection:
    """A connection to a ledger's file, which is made where there is none."""
    private_file(path)
    connection = open_file(path, LOCKED_S)
    try:
        log_ahead(connection, LOCKED_S)
        for table in _TABLES:
            connection.execute(table)
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
    except BaseException:
        connection.close()
        raise
    return connection


def runner(connection: Any, shared: bool) -> Run:
    """What runs a statement on the connection. `shared`: it is one to PostgreSQL."""

    def run(statement: str, *values: Any) -> list[Any]:
        cursor = connection.execute(statement.replace("?", "%s") if shared else statement, values)
        return list(cursor.fetchall()) if cursor.description else []

    return run


def doubt_stale(run: Run, now: float) -> None:
    """Count what nobody has settled in time as perhaps charged."""
    run("UPDATE reservations SET unsure = 1 WHERE unsure = 0 AND made < ?", now - STALE_S)


def reserve_again(run: Run, reservations: Mapping[str, tuple[str, int, float]]) -> None:
    """Put reservations (period, nano-dollars, when) where they are not, by id."""
    for reservation, (period, nano, made) in list(reservations.items()):
        run(RESERVATION, reservation, period, nano, made)


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
    found = run("SELECT nano FROM spend WHERE period = ?", period)
    return int(found[0][0]) if found else 0


def named(run: Run, period: str) -> tuple[str, int]:
    """The ledger's id, which it is given where it has none, and what a period is measured to have spent."""
    ((name, nano),) = run("SELECT (SELECT min(id) FROM ledger), (SELECT nano FROM spend WHERE period = ?)", period)
    if name is None:
        name = uuid.uuid4().hex
        run("INSERT INTO ledger (id) VALUES (?)", name)
    return str(name), int(nano or 0)


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


def read(run: Run, period: str) -> Spent:
    """A period's figures."""
    open_or_not = run("SELECT unsure, SUM(nano) FROM reservations WHERE period = ? GROUP BY unsure", period)
    held = {int(unsure): int(nano) for unsure, nano in open_or_not}
    return Spent(measured(run, period), held.get(1, 0), held.get(0, 0))
