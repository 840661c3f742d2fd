import contextlib
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.log import DecisionLog
from tests.services import redis_server

TAXONOMY = Taxonomy.of(["payments", "account"])


def teach(text: str) -> str:
    return "payments"


def load(home: Path, **settings: object) -> Cascade:
    return Cascade.load(home, teach, taxonomy=TAXONOMY, sample_rate=0.0, day_zero_rate=0.0, **settings)


def test_stores_that_work_are_there_once_the_cascade_is_loaded(tmp_path: Path) -> None:
    with load(tmp_path / "model"):
        assert {"decisions.db", "spend.db"} <= {path.name for path in (tmp_path / "model").iterdir()}


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A model's folder in which nothing can be written, whoever tries."""
    (tmp_path / "model").write_text("")
    return tmp_path / "model"


def test_a_folder_that_cannot_be_written_stops_the_start_and_names_the_settings(blocked: Path) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match=r"the log .* cannot be written") as caught:
        load(blocked)
    for words in ("log=", "ledger=", 'stores="warn"', "decisions.db", "spend.db"):
        assert words in str(caught.value)
    assert threading.active_count() == before


def test_rows_wait_in_the_folder_of_the_setting_while_the_log_is_down_and_the_models_is_only_read(
    blocked: Path, tmp_path: Path
) -> None:
    down = {"log": "postgresql://me@127.0.0.1:9/db", "ledger": str(tmp_path / "spend.db"), "stores": "warn"}
    with load(blocked, spill=str(tmp_path / "waiting"), **down) as cascade:
        assert cascade.classify("hello").source == "teacher"
    assert [path for path in (tmp_path / "waiting").glob("*.jsonl") if "payments" in path.read_text()]


def test_elsewhere_the_stores_work(blocked: Path, tmp_path: Path) -> None:
    with load(blocked, log=str(tmp_path / "log.db"), ledger=str(tmp_path / "spend.db")) as cascade:
        assert cascade.classify("hello").source == "teacher"


@pytest.mark.parametrize("broken", ["log", "ledger"])
def test_one_store_alone_is_told(broken: str, blocked: Path, tmp_path: Path) -> None:
    other = {"log": "ledger", "ledger": "log"}[broken]
    with pytest.raises(ValueError, match=f"{broken}=") as caught:
        load(tmp_path / "home", **{broken: str(blocked / "x.db")}, **{other: str(tmp_path / "x.db")})
    # The spill folder works, but the log is what is asked for.
    assert f"{other}=" not in str(caught.value)


@pytest.mark.parametrize("place", ["postgresql://me:secret@127.0.0.1:9/db", "here"])
def test_a_password_is_not_repeated(place: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log=") as caught:
        load(
            tmp_path / "home", log="postgresql://me:secret@127.0.0.1:9/db", ledger=place.replace("here", str(tmp_path))
        )
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has no users")
def test_a_file_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    with load(tmp_path / "model") as cascade:
        cascade.classify("hello")
    for name in ("decisions.db", "spend.db"):
        with contextlib.closing(Path(tmp_path / "model" / name).open("r+b")) as file:
            file.write(b"damaged by somebody")
    with pytest.raises(ValueError, match="not a database"):
        load(tmp_path / "model")


def test_where_a_warning_is_enough_no_teacher_is_asked_until_answers_can_be_kept(
    blocked: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "monoku.serving"), load(blocked, stores="warn", strategy="tiered") as cascade:
        assert "log=" in caplog.text
        assert "ledger=" in caplog.text
        assert cascade.classify("hello").source == "fallback"
        assert cascade.log is not None
        assert not cascade.log.stats()["healthy"]
        blocked.unlink()
        while not cascade.log.healthy:
            cascade.classify("hello")
        assert cascade.classify("hello again").source == "teacher"
    assert [row.text for row in DecisionLog(blocked / "decisions.db").read_answers()][-1] == "hello again"


def test_without_a_teacher_a_log_is_not_needed(tiny_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    (tmp_path / "file").write_text("")
    with Cascade.load(home, log=str(tmp_path / "file" / "log.db")) as cascade:
        assert cascade.classify("check the invoice please").intent is not None


def test_a_redis_that_is_a_cluster_stops_the_start(tmp_path: Path) -> None:
    with redis_server("--cluster-enabled", "yes") as server:
        with pytest.raises(ValueError, match=r"Redis is a node of a Redis Cluster.*redis="):
            load(tmp_path / "model", redis=server.url)
        with load(tmp_path / "model", redis=server.url, stores="warn") as cascade:
            assert cascade.classify("hello").source == "teacher"


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_redis_that_does_not_answer_is_a_warning_and_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with silent_server() as port, load(tmp_path / "model", redis=f"redis://127.0.0.1:{port}/0") as cascade:
        assert "Redis is out of reach" in caplog.text
        assert cascade.classify("hello").source == "teacher"


def test_the_time_limit_of_redis_is_a_setting(tmp_path: Path) -> None:
    with redis_server() as server, load(tmp_path / "model", redis=server.url, redis_timeout_ms=1e-4) as cascade:
        assert not cascade.stats()["redis"]["up"]
    with redis_server() as server, load(tmp_path / "model", redis=server.url, redis_timeout_ms=2000.0) as cascade:
        assert cascade.stats()["redis"]["up"]
