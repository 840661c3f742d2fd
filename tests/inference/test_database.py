import contextlib
import hashlib
import itertools
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.log.database import Store
from inference.log.decision_log import Correction, Count, Decision, LogError, TeacherAnswer
from inference.log.limits import Limits
from inference.log.rows import SERVING, TRIAL, Row, TrialAnswer, to_values
from inference.log.schema import MIGRATIONS, PARTS
from tests.logged import ROWS, answer, correction, decision, locked
from tests.services import Service, fresh_database, postgres_server, postgres_url

EVER = 1e15
KINDS: tuple[type[Any], ...] = (Decision, TeacherAnswer, Correction, TrialAnswer)

# What the first schema looked like, with a row in every table.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (1);
CREATE TABLE decisions (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, text TEXT NOT NULL, intent TEXT,
  confidence DOUBLE PRECISION, accepted BOOLEAN NOT NULL, source TEXT NOT NULL, cached BOOLEAN NOT NULL,
  deferred BOOLEAN NOT NULL, sampled BOOLEAN NOT NULL, bundle_id TEXT, latency_ms DOUBLE PRECISION, reason TEXT);
CREATE TABLE teacher_answers (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, time DOUBLE PRECISION NOT NULL,
  text TEXT NOT NULL, teacher TEXT NOT NULL, prompt_id TEXT NOT NULL, label TEXT, refusal TEXT, usage TEXT NOT NULL,
  cost_usd DOUBLE PRECISION NOT NULL, latency_ms DOUBLE PRECISION, sampled BOOLEAN NOT NULL);
CREATE TABLE corrections (id TEXT PRIMARY KEY, request_id TEXT NOT NULL, time DOUBLE PRECISION NOT NULL,
  text TEXT NOT NULL, intent TEXT NOT NULL);
INSERT INTO decisions VALUES ('d1', 5.5, 'hello', 'account', 0.5, TRUE, 'student', FALSE, TRUE, FALSE, 'b', 1.5, NULL);
INSERT INTO teacher_answers VALUES ('k1', 'd1', 6.5, 'hello', 't', 'p', 'account', NULL, '{"input_tokens": 3}', 0.25,
  NULL, FALSE);
INSERT INTO corrections VALUES ('k2', 'd1', 7.5, 'hello', 'payments');
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_url() as url:
        yield url


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Service]:
    with postgres_server() as service:
        yield service


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "deeper" / "log.db")
        return
    with fresh_database(request.getfixturevalue("postgres")) as fresh:
        yield fresh


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with contextlib.closing(Store(url, Limits(purged_at_once=3))) as store:
        yield store


def rows_of(store: Store, since: float = 0, until: float | None = None) -> list[Any]:
    return [row for kind in KINDS for row in store.read(kind, since, until)]


def by_content(rows: list[Any]) -> list[str]:
    return sorted({json.dumps([type(row).__name__, to_values(row)], sort_keys=True) for row in rows})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=8, unique_by=lambda row: getattr(row, "id", id(row))))
def test_what_is_read_equals_what_was_written(store: Store, rows: list[Row]) -> None:
    store.write([])
    store.purge(EVER)
    store.write(rows)
    assert by_content(rows_of(store)) == by_content(rows)


def test_writing_a_row_again_changes_nothing(store: Store) -> None:
    rows = [decision("a"), answer("a"), correction("a")]
    for _ in range(3):
        store.write(rows)
    store.write([decision("a", intent="account")])
    assert by_content(rows_of(store)) == by_content(rows)


def test_a_request_may_have_several_answers_and_corrections(store: Store) -> None:
    rows = [answer("a", label=None, refusal="cut off"), answer("a"), correction("a"), correction("a", intent="other")]
    store.write(rows)
    assert by_content(rows_of(store)) == by_content(rows)


def test_long_ids_are_cut_and_stay_distinct_and_the_same_everywhere(store: Store) -> None:
    names = ["x" * 5000 + end for end in ("a", "b")]
    store.write([decision(name) for name in names] + [answer(name) for name in names])
    ids = {row.id for row in store.read(Decision, 0, None)}
    assert len(ids) == 2
    assert ids == {row.request_id for row in store.read(TeacherAnswer, 0, None)}


def test_a_row_of_wrong_types_is_refused_at_once() -> None:
    for values in ({"text": b"x"}, {"confidence": "high"}, {"accepted": 1}, {"text": None}, {"confidence": True}):
        with pytest.raises(TypeError, match=f"{next(iter(values))} must be"):
            decision("a", **values)
    with pytest.raises(TypeError, match="usage must be"):
        answer("a", usage=[1])
    with pytest.raises(ValueError, match="time must be finite"):
        answer("a", time=float("nan"))


def test_a_period_has_its_beginning_but_not_its_end_and_is_in_order(store: Store) -> None:
    store.write([decision(str(i), time=float(i)) for i in (3, 1, 4, 2, 5)])
    assert [row.id for row in store.read(Decision, 2.0, 4.0)] == ["2", "3"]
    assert [row.id for row in store.read(Decision, 4.0, None)] == ["4", "5"]


def test_counts_of_several_writers_add_up_and_a_total_never_falls(store: Store) -> None:
    def write(n: int, writer: str) -> None:
        store.write([Count(7200, "requests", "all", n, writer)])

    for n, writer in ((5, "a"), (9, "a"), (7, "a"), (1, "b")):
        write(n, writer)
    store.write([Count(10800, "requests", "all", 4, "a")])
    assert list(store.counts(0, None)) == [Count(7200, "requests", "all", 10), Count(10800, "requests", "all", 4)]
    assert list(store.counts(7201, None)) == [Count(10800, "requests", "all", 4)]
    assert list(store.counts(0, 10800)) == [Count(7200, "requests", "all", 10)]


def test_purge_takes_what_is_older_of_everything(store: Store) -> None:
    old = [decision(str(i), time=float(i)) for i in range(10)]
    young = [decision("young", time=100.0), answer("young", time=100.0), correction("young", time=100.0)]
    counts = [Count(36, "requests", "all", 1, "a"), Count(3600, "requests", "all", 1, "a")]
    store.write([*old, answer("old", time=1.0), correction("old", time=1.0), *young, *counts])
    assert store.purge(100.0) == 13
    assert store.purge(100.0) == 0
    assert by_content(rows_of(store)) == by_content(young)
    assert [count.hour for count in store.counts(0, None)] == [3600]


def test_purged_text_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = Store(path)
    store.write([decision("a", time=1.0, text="a most particular sentence")])
    store.purge(2.0)
    store.close()
    assert b"most particular" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())


WRITER = """
import sys, time
from inference.log import Correction
from inference.log.database import Store
store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
store.write([Correction(sys.argv[2], 1.0, "t", "i")])
"""


def test_processes_that_make_a_log_at_once_agree(url: str) -> None:
    names = [str(i) for i in range(4)]
    commands = [[sys.executable, "-c", WRITER, url, name] for name in names]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    writers = [subprocess.Popen(command, text=True, **pipes) for command in commands]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert sorted(row.request_id for row in Store(url).read(Correction, 0, None)) == names


def test_a_log_of_the_first_schema_is_migrated_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
    check_migrated(str(path))


def test_a_log_of_the_first_schema_is_migrated_in_postgresql(postgres: str) -> None:
    import psycopg

    with fresh_database(postgres) as url:
        with psycopg.connect(url, autocommit=True) as old:
            old.execute(VERSION_1)
        check_migrated(url)


def test_a_log_of_the_third_schema_takes_what_trials_say(url: str) -> None:
    made = [*itertools.chain.from_iterable(MIGRATIONS[:3]), "CREATE TABLE schema_version (version INTEGER NOT NULL)"]
    made += [f"INSERT INTO schema_version VALUES ({number})" for number in (1, 2, 3)]
    with contextlib.closing(Store(url)) as store:
        store.write([])
        with store._reading() as connection, connection.begin():
            for name in (*itertools.chain.from_iterable(PARTS.values()), "secret", "schema_version"):
                connection.exec_driver_sql(f"DROP TABLE {name}")
            for statement in made:
                connection.exec_driver_sql(statement)
    with contextlib.closing(Store(url)) as store:
        store.write([decision("d1", time=5.5)])
        said = [TrialAnswer("d1", 6.0, role, "b", None, None, False, "fallback", 1.5) for role in (SERVING, TRIAL)]
        store.write(said * 2)
        assert by_content(list(store.read(TrialAnswer, 0, None))) == by_content(said)
        assert [row.id for row in store.read(Decision, 0, None)] == ["d1"]


def test_who_reads_a_log_in_postgresql_holds_up_neither_its_migration_nor_its_writers(postgres: str) -> None:
    import psycopg

    with fresh_database(postgres) as url, psycopg.connect(url) as reader, psycopg.connect(url) as old:
        old.execute(VERSION_1)
        old.commit()
        for table in ("decisions", "teacher_answers", "corrections", "schema_version"):
            reader.execute(f"SELECT * FROM {table}")  # as pg_dump does, and keeps its transaction open
        check_migrated(url)
        # A process of an earlier version goes on for a while, with the statements that it has.
        insert = "INSERT INTO corrections VALUES ('k9', 'd9', 8.0, 'hello', 'account')"
        old.execute(insert)
        old.commit()
        with contextlib.closing(Store(url, Limits(purged_at_once=2))) as store:
            assert [row.request_id for row in store.read(Correction, 0, None)] == ["d1", "d9"]
            assert store.purge(EVER) == 7
            assert rows_of(store) == []
            with store._reading() as connection:
                assert connection.exec_driver_sql("SELECT count(*) FROM decisions_more").scalar() == 0


def check_migrated(url: str) -> None:
    with contextlib.closing(Store(url)) as store:
        assert list(store.counts(0, None)) == []
        said = TrialAnswer("d2", 9.0, "trial", "b2", "account", 0.5, True, "student", 1.5)
        store.write([decision("d2", time=9.0), Count(0, "requests", "all", 1, "a"), said])
        assert list(store.read(TrialAnswer, 0, None)) == [said]
        assert [row.id for row in store.read(Decision, 0, None)] == ["d1", "d2"]
        old = next(store.read(Decision, 0, None))
        assert old.accepted is True
        assert (old.caller_id, old.number, old.rate, old.epoch, old.question_id) == (None, None, None, "", "")
        assert store.secret("ab") == store.secret("cd") == "ab"
        assert [row.usage for row in store.read(TeacherAnswer, 0, None)] == [{"input_tokens": 3}]
        assert [row.intent for row in store.read(Correction, 0, None)] == ["payments"]
        assert [count.n for count in store.counts(0, None)] == [1]


def test_rows_keep_what_was_drawn_and_what_was_asked(store: Store) -> None:
    drawn = {"number": 1 - 2**-53, "rate": 0.45, "epoch": "day zero 0.45", "prompt_id": "p", "question_id": "q"}
    rows = [decision("a", caller_id="c", **drawn), decision("b", caller_id="c"), answer("a", question_id="q")]
    rows += [answer("a"), correction("a", question_id="q"), correction("a")]
    store.write(rows)
    assert by_content(rows_of(store)) == by_content(rows)


def test_a_newer_schema_is_refused_by_name(store: Store) -> None:
    store.write([decision("a")])
    with store._reading() as connection, connection.begin():
        connection.exec_driver_sql("INSERT INTO schema_version (version) VALUES (5)")
    store.close()
    for use in (lambda: store.write([decision("b")]), lambda: rows_of(store), lambda: store.purge(0)):
        with pytest.raises(LogError, match="has schema 5, this version of monoku reads up to 4: upgrade"):
            use()


def test_what_is_no_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.executescript("CREATE TABLE theirs (x)")
    digest = hashlib.sha256(other.read_bytes()).digest()
    (tmp_path / "garbage.db").write_bytes(b"no database at all" * 100)
    for name, reason in (
        ("other.db", "is not a decision log"),
        ("garbage.db", "not a database"),
        ("none", "there is no"),
    ):
        with pytest.raises(LogError, match=reason):
            rows_of(Store(tmp_path / name))
    assert hashlib.sha256(other.read_bytes()).digest() == digest
    assert not (tmp_path / "none").exists()


def test_a_postgresql_without_a_log_or_without_utf8_is_refused(postgres: str) -> None:
    import psycopg

    with fresh_database(postgres) as url:
        with pytest.raises(LogError, match="is not a decision log"):
            rows_of(Store(url))
        latin = "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(latin)
            try:
                with pytest.raises(LogError, match="encoding is UTF8"):
                    Store(f"{url.rpartition('/')[0]}/latin").write([])
            finally:
                connection.execute("DROP DATABASE latin WITH (FORCE)")


def test_a_password_is_never_shown() -> None:
    store = Store("postgresql://me:secret@127.0.0.1:1/db?password=secret")
    assert store.name == "postgresql://127.0.0.1:1/db"
    with pytest.raises(LogError) as caught:
        store.write([])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "", "postgresql://a:b@c:port/d"])
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="the decision log must be a file, sqlite:///FILE or postgresql://"):
        Store(url)


@pytest.mark.parametrize(
    ("module", "url", "extra"),
    [("sqlalchemy", "log.db", "log"), ("psycopg", "postgresql://x/y", "postgres")],
)
def test_a_missing_extra_is_named(module: str, url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=rf'needs pip install "monoku\[{extra}\]"'):
        Store(url)


def test_a_file_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "sub" / "log.db")
    store.write([decision("lost")])
    for file in (tmp_path / "sub").iterdir():
        file.unlink()
    (tmp_path / "sub").rmdir()
    store.write([decision("kept")])
    assert [row.id for row in store.read(Decision, 0, None)] == ["kept"]
    store.close()


def test_a_locked_file_is_an_error_once_the_wait_is_over(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db", Limits(locked_s=0.1))
    store.write([decision("a")])
    with locked(tmp_path / "log.db"):
        with pytest.raises(LogError, match=r"cannot be written: .*locked"):
            store.write([decision("b")])
        assert [row.id for row in store.read(Decision, 0, None)] == ["a"]
    store.write([decision("b")])
    assert [row.id for row in store.read(Decision, 0, None)] == ["a", "b"]
    store.close()


def test_a_locked_table_is_an_error_once_the_wait_is_over(postgres: str) -> None:
    import psycopg

    with fresh_database(postgres) as url, contextlib.closing(Store(url, Limits(locked_s=0.1))) as store:
        store.write([decision("a")])
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE decisions")
            with pytest.raises(LogError, match="lock timeout"):
                store.write([decision("b")])
        store.write([decision("b")])


def test_a_server_that_was_restarted_is_used_at_once(own_postgres: Service) -> None:
    with fresh_database_of(own_postgres) as url, contextlib.closing(Store(url)) as store:
        store.write([decision("a")])
        own_postgres.stop()
        with pytest.raises(LogError, match="cannot be written"):
            store.write([decision("b")])
        own_postgres.start()
        store.write([decision("b")])
        own_postgres.stop()
        own_postgres.start()
        store.write([decision("c")])
        assert [row.id for row in store.read(Decision, 0, None)] == ["a", "b", "c"]


def test_a_server_that_hangs_is_given_up(own_postgres: Service) -> None:
    with fresh_database_of(own_postgres) as url, contextlib.closing(Store(url, Limits(hung_s=2.0))) as store:
        store.write([decision("a")])
        with own_postgres.frozen(), pytest.raises(LogError, match="cannot be written"):
            store.write([decision("b")])
        store.write([decision("c")])
        assert {"a", "c"} <= {row.id for row in store.read(Decision, 0, None)}


@contextlib.contextmanager
def fresh_database_of(service: Service) -> Iterator[str]:
    """As fresh_database, on a server that may be stopped meanwhile."""
    import psycopg

    name = f"own_{time.monotonic_ns()}"
    with psycopg.connect(service.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield f"{service.url.rpartition('/')[0]}/{name}"
