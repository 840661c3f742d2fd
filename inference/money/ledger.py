"""The spend ledger: it reserves the worst case before a call to a teacher and settles what was measured after it."""

from __future__ import annotations

import contextlib
import datetime
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from inference.common.errors import MonokuError
from inference.common.fork import Hold, ProcessLocal, notice, register
from inference.common.places import database
from inference.common.postgresql import cut_after
from inference.common.reentrant import reentrant_lock
from inference.money import database as books
from inference.money.database import HUNG_S, Run, Spent
from inference.money.prices import shown

__all__ = ["Ledger", "LedgerDown", "SpendLimit", "Spent"]
_log = logging.getLogger("monoku.money")
MOST_USD = 1_000_000_000  # of a cap: nano-dollars are whole numbers of 64 bits


class SpendLimit(MonokuError):
    """The cap leaves no room for this call. The message says what was spent, reserved and asked for."""


class LedgerDown(MonokuError):
    """The ledger cannot be reached, so nothing may be spent."""


class Ledger(ProcessLocal):
    """What was spent, shared by threads and processes, and never over the cap.

    `url` is a file (SQLite) or a postgresql:// URL. `cap_usd` holds per UTC day, or for good with `period` = "ever".
    A reservation that nobody settles within 15 minutes counts as perhaps charged, and goes on counting against the cap.
    What could not be booked after a call is booked before the next one. A database that was deleted or put back to an
    earlier state goes on from what this process knows to be spent; to a new one, which others may have begun to use,
    that is added. Raises ValueError for any other URL, and where an extra is missing. Every method raises LedgerDown
    where the database cannot be reached.
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
        self._arguments = None if self._place.file else books.server(self._place.url)
        self._daily = period == "day"
        self._now = now
        self._lock = reentrant_lock()
        self._connection: Any = None
        self._hold: Hold | None = None
        self._begin_books()
        register(self)

    def _begin_books(self) -> None:
        """What this process knows beside the database."""
        self._late: list[tuple[str, Callable[[Run], object]]] = []  # to be booked with the next transaction
        self._seen: dict[str, int] = {}
        self._open: dict[str, tuple[str, int, float]] = {}  # reservations under way: period, amount, when
        self._known: dict[str, int] = {}  # what is surely spent, by period
        self._name = self._found = ""  # the database's id, as of the last transaction and of the present one
        self._today = ""  # the period, as of the present transaction
        self._last: tuple[str, Spent] | None = None

    def check(self) -> None:
        """Open the database and write to it, once."""
        with self._transaction(self._now()):
            pass

    def reserve(self, nano: int, kept: float = 0.0) -> str:
        """Set `nano` nano-dollars aside and return the reservation's id. Raises SpendLimit if the cap has no room.

        `kept` is the share of the cap, from 0 to 1, that is left to the sample of requests.
        """
        cap = None if self.cap is None else round(self.cap * (1 - kept))
        period, made, new = self._period(), self._now(), uuid.uuid4().hex
        with self._transaction(made) as run:
            spent = self._spent(run, period)
            if cap is not None and spent.counted + nano > cap:
                held = f" ({kept:.0%} of it is kept for the sample)" if kept else ""
                raise SpendLimit(
                    f"{shown(nano)} more would pass the cap of {shown(self.cap or 0)}{held}: {shown(spent.measured)} "
                    f"spent, {shown(spent.unsure)} perhaps charged, {shown(spent.reserved)} reserved"
                )
            run(books.RESERVATION, new, period, nano, made)
        self._open[new] = period, nano, made
        return new

    def settle(self, reservation: str, nano: int, receipts: Sequence[tuple[str, str]] = ()) -> None:
        """Replace a reservation by what was charged; keep `receipts` (id, body) in the same transaction."""

        def book(run: Run) -> None:
            mine = self._open.get(reservation)
            found = [mine] if mine else run("SELECT period FROM reservations WHERE id = ?", reservation)
            books.settle(run, reservation, nano)
            for period, *_ in found:
                self._seen[period] = 0 if period == self._today else books.measured(run, period)  # 0: see _transaction
            for name, body in receipts:
                run(books.RECEIPT, name, self._now(), body)

        self._book(reservation, book, again=not receipts)

    def doubt(self, reservation: str) -> None:
        """No answer came, yet it may have been charged: keep the worst case counted."""
        self._book(reservation, lambda run: run("UPDATE reservations SET unsure = 1 WHERE id = ?", reservation))

    def _book(self, reservation: str, book: Callable[[Run], object], again: bool = True) -> None:
        def seen(run: Run) -> None:
            if reservation in self._open:
                self._measured(run, self._open[reservation][0])
            book(run)

        try:
            with self._transaction() as run:
                seen(run)
        except LedgerDown:
            if again:
                self._late.append((reservation, seen))
            raise
        self._open.pop(reservation, None)

    def doubt_open(self, keep: Sequence[str] = ()) -> None:
        """Doubt every open reservation but `keep`: for the only process on a ledger, after a kill."""
        with self._transaction() as run:
            for (found,) in run("SELECT id FROM reservations WHERE unsure = 0"):
                if found not in keep:
                    run("UPDATE reservations SET unsure = 1 WHERE id = ?", found)

    def spent(self) -> Spent:
        """The current period's figures."""
        with self._transaction() as run:
            return self._spent(run, self._period())

    def known(self) -> dict[str, Any]:
        """The current period in dollars, as of this process's last transaction: it touches no database."""
        period, last = self._period(), self._last
        spent = last[1] if last is not None and last[0] == period else Spent(0, 0, 0)
        return {
            "period": period,
            "cap_usd": None if self.cap is None else self.cap / 1e9,
            **{f"{name}_usd": getattr(spent, name) / 1e9 for name in ("measured", "unsure", "reserved")},
        }

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
        return f"{datetime.datetime.fromtimestamp(self._now(), datetime.UTC):%Y-%m-%d}" if self._daily else "ever"

    @contextlib.contextmanager
    def _transaction(self, doubting: float | None = None) -> Iterator[Run]:
        """One exclusive transaction, as a function that runs a statement. Raises LedgerDown if it fails.

        `doubting`: the time now, for one that first doubts what nobody has settled in time.
        """
        notice()
        with self._lock, contextlib.ExitStack() as limit:
            begun = usable = False
            refused: SpendLimit | None = None
            try:
                late, self._seen, self._found, self._today = list(self._late), {}, "", self._period()
                run = self._begin(limit, doubting)
                begun = True
                for _, book in late:
                    book(run)
                try:
                    yield run
                except SpendLimit as error:  # which reservations are in doubt, and what was lost, stays known
                    refused = error
                self._last = self._today, run.commit(self._today)
                usable = True
                if self._today in self._seen:
                    self._seen[self._today] = self._last[1].measured
                self._committed([name for name, _ in late])
            except Exception as error:  # each driver has its own exceptions
                what = "failed" if begun else "cannot be reached"
                raise LedgerDown(f"the spend ledger {self._place.name} {what}: {error}") from error
            finally:
                if not (usable and self._shared):  # a file must not be open while a process forks (see open_file)
                    self._forget()
            if refused is not None:
                raise refused

    def _committed(self, late: Sequence[str]) -> None:
        del self._late[: len(late)]
        for name in late:
            self._open.pop(name, None)
        self._known = dict(sorted((self._known | self._seen).items())[-2:])  # yesterday's calls end today
        self._name = self._found or self._name

    def _begin(self, limit: contextlib.ExitStack, doubting: float | None) -> Run:
        """A transaction that has begun. A connection that was kept may have been closed meanwhile by the server."""
        kept = self._connection is not None
        connection = self._connect()
        run = books.ServerRun(connection) if self._shared else Run(connection)
        if self._shared:
            limit.enter_context(cut_after(HUNG_S, connection.fileno()))
        try:
            run.begin()
            if doubting is not None:
                books.doubt_stale(run, doubting)
            run.figures(self._today)
        except Exception:
            if not (kept and connection.closed):
                raise
            self._forget()
            return self._begin(limit, doubting)
        return run

    def _measured(self, run: Run, period: str) -> None:
        """See that the database has not lost what this process knows of a period, and of calls under way."""
        looked = bool(self._found)
        self._found, found = books.named(run, period)
        if self._name in ("", self._found):
            lost = self._restore(run, period, self._known.get(period, 0) - found)
            if lost:
                books.reserve_again(run, self._open)
            self._seen[period] = found + lost
            return
        if not looked:  # all periods now: later it is known already, and others may have booked in it
            for of, known in self._known.items():
                self._restore(run, of, books.not_carried(run, self._name, of, known))
            books.reserve_again(run, self._open)  # whoever was first here knew nothing of this process's calls
        self._seen[period] = books.measured(run, period)

    def _restore(self, run: Run, period: str, lost: int) -> int:
        """Add what a period lost, if it did; how much that is."""
        if lost > 0:
            books.add(run, period, lost)
            _log.warning(
                "the spend ledger %s was deleted or put back to an earlier state: it goes on from %s, %s of which "
                "this process alone knows; to begin anew, restart",
                self._place.name,
                shown(books.measured(run, period)),
                shown(lost),
            )
        return max(lost, 0)

    def _spent(self, run: Run, period: str) -> Spent:
        self._measured(run, period)
        return run.figures(period)[1]

    @property
    def _shared(self) -> bool:
        return self._place.file is None

    def _connect(self) -> Any:
        if self._connection is None:
            file = self._place.file
            self._connection = books.open_postgresql(self._arguments or {}) if file is None else books.open_sqlite(file)
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
        self._late, self._open = [], {}
