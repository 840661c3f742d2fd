import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.redact import redact
from inference.cache.link import NoReply
from inference.cache.memory import Entry, MemoryCache
from inference.cache.shared import RedisCache, forget_shared
from inference.cascade import Cascade
from inference.common.text import MOST_CHARACTERS, Forgotten, query_form
from inference.log.database import LogError, Store
from inference.log.decision_log import DecisionLog
from inference.log.rows import Row
from inference.log.spill import Spill
from tests.logged import answer, correction, decision, locked, wait_until
from tests.services import fresh_database, postgres_url, redis_server

SECRET = "my neighbour Ottokar has the Zebrafinch disease"
OTHER = "somebody else has the Zebrafinch disease"
TEXTS = st.text(st.characters(), min_size=1, max_size=30)


def bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def rows_of(text: str, name: str) -> list[Row]:
    return [make(name, text=text) for make in (decision, answer, correction)]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with redis_server() as running:
        yield running.url


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_home, tmp_path / "tiny")
    return tmp_path / "tiny"


def teach(text: str) -> str:
    return "account"


def test_a_cascade_forgets_a_text_in_log_spill_and_caches_and_nothing_else(home: Path, server: str) -> None:
    dead = Spill(home / "spill")
    dead.append(rows_of(SECRET.upper(), "dead") + rows_of("of the dead", "other"))
    dead.close()
    kept = {"redis": server, "strategy": "tiered", "sample_rate": 0.0}
    with redis.Redis.from_url(server) as client, Cascade.load(home, teach, **kept) as cascade:
        wait_until(lambda: cascade.stats()["redis"]["up"])
        elsewhere = RedisCache(server, "monoku:elsewhere", timeout_ms=1000)
        wait_until(lambda: elsewhere.up)
        elsewhere.put(SECRET, Entry("account", None, "teacher", None))
        cascade.feedback(cascade.classify(SECRET).id, "account")
        cascade.classify(f"  {SECRET}\n")
        other = cascade.classify(OTHER)
        keys = set(client.scan_iter())
        gone = cascade.forget(SECRET)
        assert gone["memory"] == 2
        assert gone["remembered"] == 2
        assert gone["redis"] == len(keys - set(client.scan_iter())) >= 1
        assert gone["log"] + gone["spill"] >= 3 + 3
        assert b"Ottokar" not in bytes_under(home)
        assert b"OTTOKAR" not in bytes_under(home)
        assert not any(cascade.forget(SECRET).values())
        assert cascade.classify(OTHER).cached
        cascade.feedback(other.id, "account")
        assert not cascade.classify(SECRET).cached
    log = DecisionLog(home / "decisions.db")
    assert {row.text for row in log.read_answers()} >= {OTHER, "of the dead"}
    assert sum(count.n for count in log.read_counts() if count.kind == "requests") == 5


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, others=st.lists(TEXTS, max_size=6))
def test_what_is_forgotten_is_gone_and_nothing_with_another_key(
    text: str, others: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if not query_form(text):
        with pytest.raises(ValueError, match="must not be empty"):
            Forgotten(text, redact)
        return
    folder = tmp_path_factory.mktemp("forget")
    forgotten = Forgotten(text, redact)
    stored = [redact(text), *map(redact, others)]
    spill = Spill(folder / "spill")
    spill.append([row for number, one in enumerate(stored) for row in rows_of(one, str(number))])
    spill.close()
    left = [one for one in stored if query_form(one) not in forgotten.forms]
    cache = MemoryCache()
    for one in (text, *others):
        cache.put(one, Entry("account", None, "teacher", None))
    spill.drop(forgotten.in_line)
    cache.forget(forgotten)
    kept = [row for chunk in spill.chunks() for row in chunk]
    assert sorted(row.text for row in kept) == sorted(3 * [decision("d", text=one).text for one in left])  # type: ignore[union-attr]
    assert cache.get(text, None) is None
    assert all(cache.get(one, None) for one in others if query_form(redact(one)) not in forgotten.forms)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_database_keeps_no_row_and_a_file_no_byte(kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        url = str(tmp_path / "log.db")
        if kind == "postgresql":
            url = stack.enter_context(fresh_database(stack.enter_context(postgres_url())))
        store = stack.enter_context(contextlib.closing(Store(url)))
        # Rows of many sizes that come and go make SQLite move rows from page to page.
        for number in range(60):
            store.write(rows_of(f"{SECRET} {'x' * (number % 7 * 300)}", f"s{number}"))
            store.write(rows_of(f"{OTHER} {number}", f"o{number}"))
        for size in range(7):
            store.forget(Forgotten(f"{SECRET} {'x' * size * 300}", redact))
        assert len(list(store.read(type(decision("d")), 0, None))) == 60
        assert b"Ottokar" not in bytes_under(tmp_path)
    if kind == "sqlite":  # the file is written anew: pages that were in use may hold old copies of rows elsewhere
        with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as file:
            assert file.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_long_redacted_and_oddly_written_texts_are_found(tmp_path: Path) -> None:
    long = "word " * 3000
    for typed, stored in (
        (long, long[:MOST_CHARACTERS]),
        ("mail jane@example.com now", redact("mail jane@example.com now")),
        ("ﬁnd\u00a0 the CAT\x00\ud800", decision("d", text="find the cat\x00\ud800").text),
    ):
        assert Forgotten(typed, redact)(stored)
    assert Forgotten("mail [email] now", redact).as_typed("mail jane@example.com now")


def test_a_line_that_is_cut_off_or_damaged_is_forgotten_with_the_text(tmp_path: Path) -> None:
    forgotten = Forgotten(SECRET)
    assert forgotten.in_line(b'{"text": "my neigh')
    assert forgotten.in_line(b'{"text": "' + SECRET.encode() + b'", broken}\n')
    assert not forgotten.in_line(b'{"text": "another", broken}\n')
    assert not forgotten.in_line(json.dumps({"row": "count"}).encode() + b"\n")


def test_a_spill_file_of_a_living_process_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with contextlib.closing(Spill(tmp_path / "spill")) as living:
        living.append(rows_of(SECRET, "s"))
        log = DecisionLog(tmp_path / "log.db", spill=tmp_path / "spill")
        with pytest.raises(LogError, match="another process still holds spilled rows: run again"):
            log.forget(Forgotten(SECRET))
        assert log.forget(Forgotten(OTHER)) == {"log": 0, "spill": 0}
    assert sum(log.forget(Forgotten(SECRET)).values()) == 3
    assert b"Ottokar" not in bytes_under(tmp_path)


def test_a_log_out_of_reach_is_an_error_and_done_later(tmp_path: Path) -> None:
    with contextlib.closing(DecisionLog(tmp_path / "log.db", spill=tmp_path / "spill")) as log:
        log.keep(answer("a", text=SECRET)).result(60)
        with locked(tmp_path / "log.db"), pytest.raises(LogError, match="locked"):
            log.forget(Forgotten(SECRET))
        assert log.forget(Forgotten(SECRET))["log"] == 1


def test_a_reader_that_keeps_the_bytes_is_told_of(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db")
    store.write(rows_of(SECRET, "s"))
    with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM decisions").fetchall()
        with pytest.raises(LogError, match="is in use and its -wal file keeps them: run again"):
            store.forget(Forgotten(SECRET))
    assert store.forget(Forgotten(SECRET)) == 0
    store.close()
    assert b"Ottokar" not in bytes_under(tmp_path)


def test_redis_forgets_under_every_prefix_of_ours(server: str) -> None:
    with redis.Redis.from_url(server) as client:
        client.flushall()
        client.set("monoku:unrelated", "kept")
        caches = [RedisCache(server, f"monoku:p{number}", timeout_ms=1000) for number in range(2)]
        for cache in caches:
            wait_until(lambda cache=cache: cache.up)  # type: ignore[misc]
            for text in (SECRET, OTHER):
                cache.put(text, Entry("account", None, "teacher", None))
        assert client.dbsize() == 5
        assert forget_shared(server, [f" {SECRET}"]) == 2
        assert client.dbsize() == 3
        for cache in caches:
            cache.close()


def test_a_redis_that_is_gone_is_an_error_that_shows_no_password() -> None:
    with pytest.raises(NoReply, match=r"did not answer \(ConnectionError\); run again$"):
        forget_shared("redis://user:geheim@127.0.0.1:1/0", [SECRET])
