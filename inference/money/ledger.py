"""The spend ledger: it reserves the worst case before a call to a teacher and settles what was measured after it."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.common.errors import MonokuError
from inference.common.files import private_file
from inference.common.fork import Hold, ProcessLocal, notice, register
from inference.common.places import database
from inference.common.sqlite import log_ahead, open_file
from inference.money.prices import shown

MOST_USD = 1_000_000_000  # of a cap: nano-dollars are whole numbers of 64 bits
LOCKED_S = 10.0  # how long a transaction waits for another's
STALE_S = 900.0  # no call lasts this long: its process died
_TABLES = (
    "CREATE TABLE IF NOT EXISTS spend (period TEXT PRIMARY KEY, nano BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS reservations (id TEXT PRIMARY KEY, period TEXT NOT NULL, nano BIGINT NOT NULL, "
    "made DOUBLE PRECISION NOT NULL, unsure INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE IF NOT EXISTS receipts (id TEXT PRIMARY KEY, made DOUBLE PRECISION NOT NULL, body TEXT NOT NULL)",
)


class SpendLimit(MonokuError):
    """The cap leaves no room for this call. The message says what was spent, reserved and asked for."""


class LedgerDown(MonokuError):
    """The ledger cannot be reached, so nothing may be spent."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Nano-dollars of one period: measured; perhaps charged (answers that never arrived); reserved by open calls."""

    measured: int
    unsure: int
    reserved: int


class Ledger(ProcessLocal):
    """What was spent, shared by threads and processes, and never over the cap.

    `url` is a file (SQLite) or a postgresql:// URL. `cap_usd` holds per UTC day, or for good with `period` = "ever".
    A reservation that nobody settles within 15 minutes counts as perhaps charged, and goes on counting against the cap.
    Raises ValueError for any other URL. Every method raises LedgerDown where the database cannot be reached.
    """

    def __init__(
        self, url: str | Path, cap_usd: float | None = None, period: str = "day", now: Callable[[], float] = time.time
    ) -> None:
        if cap_usd is not None and not 0 <= cap_usd <= MOST_USD:
            raise ValueError(f"a spending cap must be dollars between 0 and {MOST_USD:,}, got {cap_usd!r}")
        if period not in ("day", "ever"):
            raise ValueError(f"a ledger's period must be day or ever, got {period!r}")
        self.cap = None if cap_usd is None else round(cap_usd * 1e9)
        self._place = database(url, "the spend ledger")
        self._daily = period == "day"
        self._now = now
        self._lock = threading.Lock()
        self._connection: Any = None
        self._hold: Hold | None = None
        register(self)

    def reserve(self, nano: int, kept: float = 0.0) -> str:
        """Set `nano` nano-dollars aside and return the reservation's id. Raises SpendLimit if the cap has no room.

        `kept` is the share of the cap, from 0 to 1, that is left to the sample of requests.
        """
        cap = None if self.cap is None else round(self.cap * (1 - kept))
        period, made, new = self._period(), self._now(), uuid.uuid4().hex
        with self._transaction() as run:
            run("UPDATE reservations SET unsure = 1 WHERE unsure = 0 AND made < ?", made - STALE_S)
            spent = _spent(run, period)
            taken = spent.measured + spent.unsure + spent.reserved
            if cap is not None and taken + nano > cap:
                held = f" ({kept:.0%} of it is kept for the sample)" if kept else ""
                raise SpendLimit(
                    f"{shown(nano)} more would pass the cap of {shown(self.cap or 0)}{held}: {shown(spent.measured)} "
                    f"spent, {shown(spent.unsure)} perhaps charged, {shown(spent.reserved)} reserved"
                )
            run("INSERT INTO reservations (id, period, nano, made) VALUES (?, ?, ?, ?)", new, period, nano, made)
        return new

    def settle(self, reservation: str, nano: int, receipts: Sequence[tuple[str, str]] = ()) -> None:
        """Replace a reservation by what was charged; keep `receipts` (id, body) in the same transaction."""
        with self._transaction() as run:
            rows = run("SELECT period FROM reservations WHERE id = ?", reservation)
            run("DELETE FROM reservations WHERE id = ?", reservation)
            if rows:  # else it was settled before
                run(
                    "INSERT INTO spend (period, nano) VALUES (?, ?) "
                    "ON CONFLICT (period) DO UPDATE SET nano = spend.nano + excluded.nano",
                    rows[0][0],
                    nano,
                )
            for name, body in receipts:
                run(
                    "INSERT INTO receipts (id, made, body) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
                    name,
                    self._now(),
                    body,
                )

    def doubt(self, reservation: str) -> None:
        """No answer came, yet it may have been charged: keep the worst case counted."""
        with self._transaction() as run:
            run("UPDATE reservations SET unsure = 1 WHERE id = ?", reservation)

    def doubt_open(self, keep: Sequence[str] = ()) -> None:
        """Doubt every open reservation but `keep`: for the only process on a ledger, after a kill."""
        with self._transaction() as run:
            for (found,) in run("SELECT id FROM reservations WHERE unsure = 0"):
                if found not in keep:
                    run("UPDATE reservations SET unsure = 1 WHERE id = ?", found)

    def spent(self) -> Spent:
        """The current period's figures."""
        with self._transaction() as run:
            return _spent(run, self._period())

    def receipts(self) -> list[tuple[str, str]]:
        """All receipts (id, body), oldest first."""
        with self._transaction() as run:
            return [(name, body) for name, body in run("SELECT id, body FROM receipts ORDER BY made, id")]

    def close(self) -> None:
        """Close the connection; a later call opens it again."""
        notice()
        with self._lock:
            self._forget()

    def _period(self) -> str:
        day = datetime.datetime.fromtimestamp(self._now(), datetime.UTC).date()
        return day.isoformat() if self._daily else "ever"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[..., list[Any]]]:
        """One exclusive transaction, as a function that runs a statement. Raises LedgerDown if it fails."""
        notice()
        with self._lock:
            begun = usable = False
            try:
                connection = self._connect()
                run = _runner(connection, self._shared)
                run("LOCK TABLE spend IN ACCESS EXCLUSIVE MODE" if self._shared else "BEGIN IMMEDIATE")
                begun = True
                yield run
                connection.commit()
                usable = True
            except SpendLimit:
                connection.commit()  # which reservations are in doubt stays known
                usable = True
                raise
            except Exception as error:  # each driver has its own exceptions
                what = "failed" if begun else "cannot be reached"
                raise LedgerDown(f"the spend ledger {self._place.name} {what}: {error}") from error
            finally:
                if not (usable and self._shared):  # a file must not be open while a process forks (see open_file)
                    self._forget()

    @property
    def _shared(self) -> bool:
        return self._place.file is None

    def _connect(self) -> Any:
        if self._connection is None:
            file, url = self._place.file, self._place.url
            self._connection = _open_postgresql(url) if file is None else _open_sqlite(file)
            self._hold = Hold(self._connection)
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
        self._connection = self._hold = None

    def before_fork(self) -> None:
        """Have no connection open, and no transaction under way."""
        self._lock.acquire()
        self._forget()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork(self) -> None:
        """Leave a connection to the parent."""
        super().after_fork()
        self._connection = self._hold = None


def _open_sqlite(path: Path) -> sqlite3.Connection:
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


def _open_postgresql(url: str) -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise ValueError('a ledger in PostgreSQL needs pip install "monoku[postgres]"') from error
    connection = psycopg.connect(url, connect_timeout=5, options="-c statement_timeout=5000", tcp_user_timeout=5000)
    connection.execute("SELECT pg_advisory_xact_lock(740121)")  # two processes that create a table at once collide
    for table in _TABLES:
        connection.execute(table)
    connection.commit()
    return connection


def _runner(connection: Any, shared: bool) -> Callable[..., list[Any]]:
    def run(statement: str, *values: Any) -> list[Any]:
        cursor = connection.execute(statement.replace("?", "%s") if shared else statement, values)
        return list(cursor.fetchall()) if cursor.description else []

    return run


def _spent(run: Callable[..., list[Any]], period: str) -> Spent:
    measured = run("SELECT nano FROM spend WHERE period = ?", period)
    open_or_not = run("SELECT unsure, SUM(nano) FROM reservations WHERE period = ? GROUP BY unsure", period)
    held = {int(unsure): int(nano) for unsure, nano in open_or_not}
    return Spent(int(measured[0][0]) if measured else 0, held.get(1, 0), held.get(0, 0))
