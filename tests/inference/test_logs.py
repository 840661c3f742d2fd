import contextlib
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.cache.link import NoReply, RedisLink
from inference.cascade import Cascade
from inference.common.logs import Condition
from inference.log.decision_log import DecisionLog
from inference.serving.policy import Policy
from inference.serving.watch import Watch
from inference.teachers.breaker import Breaker
from inference.teachers.claude import AnthropicTeacher
from tests.fake_api import FakeAPI
from tests.logged import answer, decision, locked, wait_until
from tests.services import redis_server

SECRET = "my card is 4111"


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What is logged, as it comes."""
    caplog.set_level(logging.INFO, "monoku")
    kept = Kept()
    logging.getLogger("monoku").addHandler(kept)
    yield kept.records
    logging.getLogger("monoku").removeHandler(kept)


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_home, tmp_path / "tiny")
    return tmp_path / "tiny"


def assert_nothing_private(told: list[logging.LogRecord]) -> None:
    assert not any(secret in record.getMessage() for record in told for secret in (SECRET, "test-key"))


def levels(told: list[logging.LogRecord], area: str) -> list[str]:
    return [record.levelname for record in told if record.name == f"monoku.{area}"]


def test_only_changes_are_told(told: list[logging.LogRecord]) -> None:
    condition = Condition("test", "it is over")
    condition.end()
    for attempt in range(3):
        condition.begin("it fails: %s", attempt)
    condition.end()
    condition.end()
    condition.begin("it fails: %s", "again")
    assert [(record.levelname, record.getMessage()) for record in told] == [
        ("WARNING", "it fails: 0"),
        ("INFO", "it is over"),
        ("WARNING", "it fails: again"),
    ]


def test_trouble_about_another_thing_is_a_change(told: list[logging.LogRecord]) -> None:
    condition = Condition("test", "it is over")
    for about in ("a", "a", "b", "b", "a"):
        condition.begin("refused: %s", about, about=about)
    condition.end()
    assert [record.getMessage() for record in told] == ["refused: a", "refused: b", "refused: a", "it is over"]


def test_threads_that_fail_at_once_warn_once(told: list[logging.LogRecord]) -> None:
    condition, gate = Condition("test", "it is over"), threading.Barrier(8)

    def fail() -> None:
        for _ in range(200):
            gate.wait()
            condition.begin("it fails")
            gate.wait()
            condition.end()

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert levels(told, "test") == ["WARNING", "INFO"] * 200


def test_nothing_is_printed_unless_the_application_asks_for_it() -> None:
    program = (
        "import logging; from inference.common.logs import Condition; Condition('test', 'over').begin('it fails');"
        "assert not logging.getLogger().handlers"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_refused_bundle_is_told_once_and_its_successor_too(home: Path, told: list[logging.LogRecord]) -> None:
    watch = Watch(home, Policy())
    good = (home / "current").read_text()
    for name in ("20990101T000000Z-deadbeef", "20990102T000000Z-deadbeef"):
        (home / "current").write_text(name)
        watch.look()
        watch.look()
    assert levels(told, "serving") == ["WARNING", "WARNING"]
    (home / "current").write_text(good)
    watch.look()
    assert levels(told, "serving") == ["WARNING", "WARNING", "INFO"]


def shout(text: str) -> str:
    """A teacher that costs nothing, and so needs no ledger."""
    return "account"


def test_a_ledger_out_of_reach_is_told_once(home: Path, tiny_data: Path, told: list[logging.LogRecord]) -> None:
    taxonomy = Taxonomy.load(tiny_data / "taxonomy.toml")
    (home / "file").write_text("")
    with FakeAPI(fence="query") as api:
        teacher = AnthropicTeacher("claude-haiku-5-5", taxonomy, base_url=api.url, api_key="test-key")
        ledger, settings = str(home / "file" / "spend.db"), {"sample_rate": 0, "strategy": "tiered"}
        with Cascade.load(home, [teacher, shout], ledger=ledger, log="none", stores="warn", **settings) as cascade:
            assert levels(told, "serving") == ["WARNING"]
            told.clear()
            cascade.classify(SECRET)
            cascade.classify(f"{SECRET} again")
            assert levels(told, "money") == ["WARNING"]
            (home / "file").unlink()
            cascade.classify(f"{SECRET} once more")
    assert levels(told, "money") == ["WARNING", "INFO"]
    assert_nothing_private(told)


def test_a_log_out_of_reach_and_its_spill_folder_are_told_once_each(
    tmp_path: Path, told: list[logging.LogRecord]
) -> None:
    (tmp_path / "data").write_text("in the way")
    (tmp_path / "spill").write_text("in the way")
    with contextlib.closing(DecisionLog(tmp_path / "data" / "log.db", spill=tmp_path / "spill")) as log:
        for number in range(3):
            kept = log.keep(answer(f"a{number}", text=SECRET))
            assert kept.exception(60) is not None
        assert levels(told, "log") == ["WARNING", "WARNING"]
        (tmp_path / "data").unlink()
        (tmp_path / "spill").unlink()
        wait_until(lambda: log.healthy and not log.stats()["error"])
    assert levels(told, "log").count("WARNING") == 2
    assert [record.getMessage() for record in told][-1] == f"the decision log {log.name} takes rows again"
    assert_nothing_private(told)


def test_dropped_rows_are_told_once(tmp_path: Path, told: list[logging.LogRecord]) -> None:
    def drops() -> list[str]:
        return [record.levelname for record in told if "drops" in record.getMessage()]

    with contextlib.closing(DecisionLog(tmp_path / "log.db", queue_size=4)) as log:
        log.keep(answer("before")).result(60)
        with locked(tmp_path / "log.db"):
            for number in range(30):
                log.put(decision(f"d{number}", text=SECRET))
            wait_until(drops)
        wait_until(lambda: log.stats()["waiting"] == 0)
        log.keep(answer("after")).result(60)
    assert drops() == ["WARNING", "INFO"]
    assert_nothing_private(told)


def test_redis_out_of_reach_is_told_once_and_its_return_too(told: list[logging.LogRecord]) -> None:
    with redis_server() as service, contextlib.closing(RedisLink(service.url, 5.0, 0.05)) as link:
        wait_until(lambda: link.up)
        service.stop()
        for _ in range(20):
            with contextlib.suppress(NoReply):
                link.ask("GETRANGE", SECRET, 0, 10)
        wait_until(lambda: levels(told, "cache") == ["WARNING"])
        service.start()
        wait_until(lambda: levels(told, "cache") == ["WARNING", "INFO"])
    assert_nothing_private(told)


def test_a_breaker_tells_that_it_opened_and_closed(told: list[logging.LogRecord]) -> None:
    now = [0.0]
    breaker = Breaker(failures=2, rest_s=10.0, now=lambda: now[0], name="python:billing")
    for worked in (False, False, False, True, True):
        breaker.record(worked)
    assert [record.getMessage() for record in told] == [
        "python:billing failed 2 times in a row and rests 10 s",
        "python:billing is asked again",
    ]
