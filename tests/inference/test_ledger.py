import contextlib
import multiprocessing
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.money.ledger import STALE_S, Ledger, LedgerDown, SpendLimit
from tests.forks import FORKS, c_fork, holds_in_child, needs_fork
from tests.services import fresh_database, postgres_server


def test_reserve_then_settle_counts_what_was_measured(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db", cap_usd=1)
    reservation = ledger.reserve(900_000_000)
    assert ledger.spent().reserved == 900_000_000
    ledger.settle(reservation, 100, [("a", "body")])
    ledger.settle(reservation, 100, [("a", "body")])  # a second time changes nothing
    spent = ledger.spent()
    assert (spent.measured, spent.unsure, spent.reserved) == (100, 0, 0)
    assert ledger.receipts() == [("a", "body")]


def test_cap_counts_what_is_spent_reserved_and_perhaps_charged(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db", cap_usd=3e-9)
    ledger.settle(ledger.reserve(1), 1)
    ledger.doubt(ledger.reserve(1))
    ledger.reserve(1)
    with pytest.raises(SpendLimit, match="cap of"):
        ledger.reserve(1)


def test_a_doubted_reservation_can_still_be_settled(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db")
    reservation = ledger.reserve(50)
    ledger.doubt_open(keep=["another"])
    assert ledger.spent().unsure == 50
    ledger.settle(reservation, 20)
    assert (ledger.spent().measured, ledger.spent().unsure) == (20, 0)


def test_days_are_utc_and_each_starts_anew(tmp_path: Path) -> None:
    now = [86_400.0 * 100 - 1]
    ledger = Ledger(tmp_path / "spend.db", cap_usd=1e-9, now=lambda: now[0])
    ledger.settle(ledger.reserve(1), 1)
    with pytest.raises(SpendLimit):
        ledger.reserve(1)
    now[0] += 1
    ledger.reserve(1)


def test_a_reservation_that_nobody_settles_stays_counted(tmp_path: Path) -> None:
    now = [0.0]
    ledger = Ledger(tmp_path / "spend.db", cap_usd=10e-9, now=lambda: now[0])
    ledger.reserve(7)
    now[0] = STALE_S + 1
    with pytest.raises(SpendLimit):
        ledger.reserve(7)
    assert (ledger.spent().unsure, ledger.spent().reserved) == (7, 0)


@settings(deadline=None, max_examples=30)  # every step is an fsync
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=30))
def test_never_over_the_cap_when_no_call_costs_more_than_it_reserved(calls: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Ledger(f"{folder}/spend.db", 100e-9)) as ledger:
        for reserved, charged in calls:
            try:
                reservation = ledger.reserve(max(reserved, charged))
            except SpendLimit:
                continue
            ledger.settle(reservation, charged)
        assert ledger.spent().measured <= 100


def _spend(path: str, done: "multiprocessing.Queue[int]") -> None:
    ledger, spent = Ledger(path, cap_usd=200e-9), 0
    try:
        while True:
            ledger.settle(ledger.reserve(3), 2)
            spent += 2
    except SpendLimit:
        done.put(spent)


def test_four_processes_never_pass_the_cap_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    workers = [context.Process(target=_spend, args=(str(tmp_path / "spend.db"), done)) for _ in range(4)]
    for worker in workers:
        worker.start()
    total = sum(done.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert 197 <= total <= 200
    assert Ledger(tmp_path / "spend.db").spent().measured == total


def test_a_ledger_out_of_reach_means_no_calls(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LedgerDown, match="cannot be reached"):
        Ledger(tmp_path / "file" / "spend.db").reserve(1)
    (tmp_path / "junk.db").write_bytes(b"no database" * 500)
    with pytest.raises(LedgerDown):
        Ledger(tmp_path / "junk.db").reserve(1)


def test_works_again_once_the_database_does(tmp_path: Path) -> None:
    path = tmp_path / "spend.db"
    ledger = Ledger(path)
    ledger.reserve(1)
    path.write_bytes(b"this is no database, whatever its name" * 100)
    with pytest.raises(LedgerDown):
        ledger.reserve(1)
    path.unlink()
    ledger.settle(ledger.reserve(1), 1)
    assert ledger.spent().measured == 1


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_usable_in_a_forked_child(fork: Callable[[], int], kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        url = str(tmp_path / "spend.db")
        if kind == "postgresql":
            url = stack.enter_context(fresh_database(stack.enter_context(postgres_server()).url))
        ledger = stack.enter_context(contextlib.closing(Ledger(url)))
        ledger.settle(ledger.reserve(1), 1)
        session = ledger._connection
        assert holds_in_child(fork, lambda: ledger.settle(ledger.reserve(1), 1) is None and ledger.close() is None)
        if session is not None and fork is c_fork:
            session.execute("SELECT 1")  # the child did not end its parent's session
        ledger.settle(ledger.reserve(1), 1)
        assert ledger.spent().measured == 3


@needs_fork
def test_a_child_that_was_forked_in_the_middle_of_a_transaction_is_refused_at_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db")

    def check() -> bool:
        with pytest.raises(LedgerDown, match="start it anew"):
            ledger.reserve(1)
        return True

    with ledger._transaction() as run:
        run("INSERT INTO spend (period, nano) VALUES ('ever', 7)")
        assert holds_in_child(c_fork, check, within_s=20)
    assert ledger.spent().measured == 0
    assert Ledger(tmp_path / "spend.db", period="ever").spent().measured == 7


def test_an_interrupted_transaction_is_rolled_back_and_nobody_waits_for_it(tmp_path: Path) -> None:
    Ledger(tmp_path / "spend.db").reserve(1)
    ledger = Ledger(tmp_path / "spend.db")
    with contextlib.suppress(KeyboardInterrupt), ledger._transaction() as run:
        run("INSERT INTO spend (period, nano) VALUES ('ever', 7)")
        raise KeyboardInterrupt
    with contextlib.closing(sqlite3.connect(tmp_path / "spend.db", timeout=0)) as another:
        another.execute("BEGIN IMMEDIATE")
        assert another.execute("SELECT * FROM spend").fetchall() == []


@pytest.mark.parametrize("cap", [-1, float("nan")])
def test_a_cap_that_is_none_is_refused(cap: float) -> None:
    with pytest.raises(ValueError, match="cap"):
        Ledger("x", cap_usd=cap)


def test_an_unknown_period_is_refused() -> None:
    with pytest.raises(ValueError, match="day or ever"):
        Ledger("x", period="week")


def test_a_share_of_the_cap_is_left_to_the_sample(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db", cap_usd=1e-7)
    ledger.settle(ledger.reserve(40, kept=0.3), 40)
    ledger.reserve(30, kept=0.3)
    with pytest.raises(SpendLimit, match="30% of it is kept for the sample"):
        ledger.reserve(1, kept=0.3)
    ledger.reserve(30)
    with pytest.raises(SpendLimit):
        ledger.reserve(1)
