"""The spend ledger on a server: how many messages a call takes, indexes, and who may make them."""

import contextlib
import uuid

import pytest

from inference.money.database import ServerRun
from inference.money.ledger import Ledger, Spent


def has_indexes(url: str) -> bool:
    import psycopg

    with psycopg.connect(url) as reader:
        found = reader.execute("SELECT to_regclass('reservations_open'), to_regclass('reservations_period')").fetchone()
        return found is not None and None not in found


def without_indexes(url: str) -> None:
    """Make it a ledger of the version before."""
    import psycopg

    with contextlib.closing(Ledger(url)) as ledger, psycopg.connect(url) as admin:
        ledger.check()
        admin.execute("DROP INDEX reservations_open, reservations_period")


def test_a_call_and_its_charge_are_two_messages_each_to_a_server(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, send = [], ServerRun._send

    def counted(run: ServerRun) -> list[list[object]]:
        sent.append(list(run._waiting))
        return send(run)

    with contextlib.closing(Ledger(shared, cap_usd=1.0)) as ledger:
        ledger.check()
        ledger.settle(ledger.reserve(5), 5)
        monkeypatch.setattr(ServerRun, "_send", counted)
        reservation = ledger.reserve(5)
        assert (len(sent), sent[-1][-1]) == (2, "COMMIT")
        ledger.settle(reservation, 4)
        assert (len(sent), sent[-1][-1]) == (4, "COMMIT")
        assert ledger.known()["measured_usd"] == 9e-9


def test_old_reservations_that_nobody_settled_are_not_read_again_and_again(shared: str) -> None:
    import psycopg

    with contextlib.closing(Ledger(shared)) as ledger, psycopg.connect(shared, autocommit=True) as admin:
        ledger.check()
        admin.execute(
            "INSERT INTO reservations SELECT 'old' || n, '2020-01-' || 10 + n % 20, 5, n, 1 "
            "FROM generate_series(1, 20000) AS n"
        )
        admin.execute("ANALYZE reservations")
        ledger.settle(ledger.reserve(5), 5)
        for query in (
            "UPDATE reservations SET unsure = 1 WHERE unsure = 0 AND made < 1e9",
            "SELECT sum(nano) FROM reservations WHERE period = '2026-01-01'",
        ):
            plan = str(admin.execute(f"EXPLAIN {query}").fetchall())
            assert "Seq Scan" not in plan
            assert "reservations_" in plan


def test_a_ledger_of_the_version_before_gets_its_indexes_from_who_owns_it(shared: str) -> None:
    without_indexes(shared)
    assert not has_indexes(shared)
    with contextlib.closing(Ledger(shared)) as ledger:
        ledger.check()
    assert has_indexes(shared)


def test_who_does_not_own_the_tables_uses_them_without_indexes(shared: str) -> None:
    import psycopg

    without_indexes(shared)
    role = f"guest_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(shared, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN")
        admin.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}")
        with contextlib.closing(Ledger(shared.replace("//monoku@", f"//{role}@"), cap_usd=1.0)) as ledger:
            ledger.settle(ledger.reserve(5), 3)
            assert ledger.spent() == Spent(3, 0, 0)
        assert not has_indexes(shared)
        admin.execute(f"DROP OWNED BY {role}")
        admin.execute(f"DROP ROLE {role}")


def test_indexes_that_cannot_be_made_now_are_done_without_and_made_later(shared: str) -> None:
    import psycopg

    without_indexes(shared)
    with psycopg.connect(shared) as busy, contextlib.closing(Ledger(shared)) as ledger:
        busy.execute("DELETE FROM reservations")  # and its transaction goes on
        ledger.settle(ledger.reserve(5), 3)
        assert not has_indexes(shared)
        busy.rollback()
        ledger.close()
        assert ledger.spent() == Spent(3, 0, 0)
        assert has_indexes(shared)


def test_a_charge_for_yesterday_is_known_and_carried_over_by_a_shared_ledger(shared: str) -> None:
    import psycopg

    clock = [86_400.0 - 60]
    with contextlib.closing(Ledger(shared, now=lambda: clock[0])) as ledger:
        late, again = ledger.reserve(30), ledger.reserve(30)
        clock[0] = 86_400.0 + 60
        ledger.settle(late, 20)
        ledger.settle(ledger.reserve(30), 5)
        with psycopg.connect(shared) as admin:
            admin.execute("DROP TABLE spend, reservations, receipts, ledger, carried")
        ledger.close()
        ledger.settle(again, 4)
        assert ledger.spent() == Spent(5, 0, 0)
        clock[0] -= 120
        assert ledger.spent() == Spent(24, 0, 0)


def test_a_database_of_no_encoding_holds_a_ledger_as_any_other(shared: str, caplog: pytest.LogCaptureFixture) -> None:
    import psycopg

    name = f"ascii_{uuid.uuid4().hex[:12]}"
    url = f"{shared.rpartition('/')[0]}/{name}"
    with psycopg.connect(shared, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            with contextlib.closing(Ledger(url)) as ledger:
                ledger.settle(ledger.reserve(9), 5, [("one", "ünï")])
                with psycopg.connect(url) as other:
                    other.execute("DROP TABLE spend, reservations, receipts, ledger, carried")
                ledger.close()
                assert ledger.spent() == Spent(5, 0, 0)
                ledger.settle(ledger.reserve(9), 3, [("two", "😀")])
                assert (ledger.spent(), ledger.receipts()) == (Spent(8, 0, 0), [("two", "😀")])
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert [one.message.partition(" was ")[2][:7] for one in caplog.records] == ["deleted"]
