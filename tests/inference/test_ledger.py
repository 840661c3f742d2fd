import concurrent.futures
import contextlib
import multiprocessing
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.money.database import STALE_S
from inference.money.ledger import Ledger, LedgerDown, SpendLimit
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


def test_who_reads_a_shared_ledger_holds_up_nobody_and_is_not_held_up(shared: str) -> None:
    import psycopg

    with contextlib.closing(Ledger(shared, cap_usd=1.0)) as ledger, psycopg.connect(shared) as reader:
        ledger.settle(ledger.reserve(5), 5)
        for table in ("spend", "reservations", "receipts"):
            reader.execute(f"SELECT * FROM {table}")  # as pg_dump does, and keeps its transaction open
        ledger.settle(ledger.reserve(5), 5)
        with ledger._transaction():
            reader.execute("SET statement_timeout = 2000")
            assert reader.execute("SELECT nano FROM spend").fetchall() == [(10,)]
        assert ledger.spent().measured == 10


def test_a_process_of_an_earlier_version_waits_its_turn_and_is_waited_for(shared: str) -> None:
    import psycopg

    with contextlib.closing(Ledger(shared, cap_usd=10e-9)) as ledger, psycopg.connect(shared) as old:
        ledger.check()
        old.execute("LOCK TABLE spend IN ACCESS EXCLUSIVE MODE")
        old.execute("INSERT INTO spend VALUES (%s, 8)", (ledger._period(),))
        with concurrent.futures.ThreadPoolExecutor() as threads:
            waiting = threads.submit(ledger.reserve, 5)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
            old.commit()
            with pytest.raises(SpendLimit):
                waiting.result()
        with ledger._transaction(), pytest.raises(psycopg.errors.LockNotAvailable):
            old.execute("LOCK TABLE spend IN ACCESS EXCLUSIVE MODE NOWAIT")


def test_threads_never_pass_the_cap_of_a_shared_ledger_whatever_the_server_isolates(shared: str) -> None:
    import psycopg

    with psycopg.connect(shared, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")

    def spend(_: int) -> int:
        spent = 0
        with contextlib.closing(Ledger(shared, cap_usd=100e-9)) as ledger:
            for _ in range(12):
                with contextlib.suppress(SpendLimit):
                    ledger.settle(ledger.reserve(3), 3)
                    spent += 3
        return spent

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(spend, range(4))) == 99


def test_a_kept_connection_that_the_server_closed_is_replaced(shared: str) -> None:
    import psycopg

    with contextlib.closing(Ledger(shared)) as ledger:
        ledger.settle(ledger.reserve(5), 5)
        others = "datname = current_database() AND pid <> pg_backend_pid()"
        with psycopg.connect(shared, autocommit=True) as admin:
            admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        ledger.settle(ledger.reserve(5), 5)
        assert ledger.spent().measured == 10


def test_a_server_that_hangs_is_given_up_and_the_charge_is_booked_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.money.ledger.HUNG_S", 0.5)
    with postgres_server() as server, contextlib.closing(Ledger(server.url, cap_usd=1.0)) as ledger:
        reservation = ledger.reserve(100)
        with server.frozen(), pytest.raises(LedgerDown):
            ledger.settle(reservation, 7)
        ledger.settle(ledger.reserve(1), 1)
        spent = ledger.spent()
        assert (spent.measured, spent.unsure, spent.reserved) == (8, 0, 0)


@pytest.mark.parametrize("url", ["postgresql://a:secret@b:port/c", "postgresql://a@h/d?colour=secret"])
def test_an_invalid_url_of_a_server_is_refused_at_once_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="the spend ledger must be a file") as caught:
        Ledger(url)
    assert "secret" not in str(caught.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ValueError, match=r"monoku\[postgres\]"):
        Ledger("postgresql://x/y")


def test_a_check_tells_what_cannot_be_written(tmp_path: Path) -> None:
    Ledger(tmp_path / "spend.db").check()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerDown):
        Ledger(tmp_path / "file" / "spend.db").check()


KINDS = st.sampled_from(["call", "doubt", "locked", "deleted", "begun"])
STEPS = st.lists(st.tuples(KINDS, st.integers(0, 30)), max_size=10)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another holds the file, and the ledger says so."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("BEGIN EXCLUSIVE")
        with pytest.raises(LedgerDown):
            yield


@settings(deadline=None, max_examples=25)
@given(STEPS)
def test_whatever_fails_or_is_deleted_all_that_was_charged_is_counted_once(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.money.database.LOCKED_S", 0.05)
        folder, charged, begun = Path(name), 0, []
        with contextlib.closing(Ledger(folder / "spend.db")) as ledger:
            for what, nano in steps:
                if what == "deleted":
                    for file in folder.iterdir():
                        file.unlink()
                    continue
                reservation = ledger.reserve(30)
                if what == "begun":
                    begun.append((reservation, nano))
                    continue
                charged += 0 if what == "doubt" else nano
                with held(folder / "spend.db") if what == "locked" else contextlib.nullcontext():
                    ledger.doubt(reservation) if what == "doubt" else ledger.settle(reservation, nano)
                assert ledger.spent().measured == charged
            for reservation, nano in begun:
                ledger.settle(reservation, nano)
            assert ledger.spent().measured == charged + sum(nano for _, nano in begun)


CREW = st.lists(st.tuples(st.sampled_from(["call", "deleted", "restarted"]), st.integers(1, 2)), max_size=12)


@settings(deadline=None, max_examples=25)
@given(CREW)
def test_whoever_is_first_on_a_ledger_after_it_was_deleted_nothing_spent_is_forgotten_or_counted_twice(
    steps: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path, charged = Path(name) / "spend.db", 0
        crew = [Ledger(path) for _ in range(3)]
        for what, who in steps:
            if what == "deleted":
                path.unlink(missing_ok=True)
            elif what == "restarted":  # it knows nothing any more
                crew[who] = Ledger(path)
            else:
                crew[who].settle(crew[who].reserve(30), 7)
                charged += 7
                crew[0].spent()  # which is never restarted, and knows of all
        assert [ledger.spent().measured for ledger in (*crew, *crew)][3:] == [charged] * 3


def test_what_an_old_process_knows_counts_against_the_cap_of_a_new_one(tmp_path: Path) -> None:
    nano = 900_000_000
    old = Ledger(tmp_path / "spend.db", cap_usd=1)
    old.settle(old.reserve(nano), nano)
    (tmp_path / "spend.db").unlink()
    new = Ledger(tmp_path / "spend.db", cap_usd=1)
    new.settle(new.reserve(nano), nano)  # nobody has told it yet
    for ledger in (old, new):
        with pytest.raises(SpendLimit, match=r"\$1.8 spent"):
            ledger.reserve(1)


def test_a_call_that_was_under_way_when_the_ledger_was_deleted_counts_whoever_is_first_on_the_new_one(
    tmp_path: Path,
) -> None:
    one, other = (Ledger(tmp_path / "spend.db") for _ in range(2))
    one.settle(one.reserve(30), 7)
    other.spent()
    settled, doubted = other.reserve(30), other.reserve(20)
    (tmp_path / "spend.db").unlink()
    one.spent()  # carries over all that is known to be spent
    other.settle(settled, 25)
    other.doubt(doubted)
    assert (one.spent().measured, one.spent().unsure, one.spent().reserved) == (32, 20, 0)


@pytest.mark.parametrize("end", [Ledger.doubt, lambda ledger, name: ledger.settle(name, 30)])
def test_the_first_call_of_a_ledger_counts_though_it_was_deleted_meanwhile(
    tmp_path: Path, end: Callable[[Ledger, str], None]
) -> None:
    ledger = Ledger(tmp_path / "spend.db")
    reservation = ledger.reserve(30)
    (tmp_path / "spend.db").unlink()
    end(ledger, reservation)
    assert ledger.spent().measured + ledger.spent().unsure == 30


def test_what_could_not_be_booked_is_booked_once_though_the_cap_is_reached_on_a_new_ledger(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "spend.db", cap_usd=100e-9)
    ledger.settle(ledger.reserve(40), 40)
    reservation = ledger.reserve(50)
    with pytest.MonkeyPatch.context() as patch, held(tmp_path / "spend.db"):
        patch.setattr("inference.money.database.LOCKED_S", 0.05)
        ledger.settle(reservation, 50)
    (tmp_path / "spend.db").unlink()
    for _ in range(2):
        with pytest.raises(SpendLimit):
            ledger.reserve(30)
    spent = ledger.spent()
    assert (spent.measured, spent.unsure, spent.reserved) == (90, 0, 0)


def test_what_was_spent_today_is_carried_over_though_a_call_of_yesterday_ends_first(tmp_path: Path) -> None:
    clock = [86_400.0 - 60]
    old, new = (Ledger(tmp_path / "spend.db", now=lambda: clock[0]) for _ in range(2))
    late = old.reserve(30)
    clock[0] = 86_400.0 + 60
    old.settle(old.reserve(30), 8)
    (tmp_path / "spend.db").unlink()
    new.settle(new.reserve(30), 5)
    old.settle(late, 30)
    assert old.spent().measured == 8 + 5


def test_a_deleted_ledger_goes_on_from_what_is_known_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(tmp_path / "spend.db", cap_usd=100e-9)
    ledger.settle(ledger.reserve(90), 60)
    under_way = ledger.reserve(30)
    (tmp_path / "spend.db").unlink()
    with pytest.raises(SpendLimit):
        ledger.reserve(30)
    assert "was deleted or put back to an earlier state: it goes on from" in caplog.text
    ledger.settle(under_way, 20)
    assert (ledger.spent().measured, ledger.spent().reserved) == (80, 0)
    assert Ledger(tmp_path / "spend.db").spent().measured == 80
