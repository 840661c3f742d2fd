import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference.log.decision_log import DecisionLog, LogError
from inference.log.limits import Limits
from tests.forks import c_fork, holds_in_child, needs_fork
from tests.logged import answer, check_integrity, correction, decision, locked, wait_until
from tests.services import fresh_database, postgres_server

SOON_S = 60
QUICK = Limits(locked_s=0.2, first_pause_s=0.1, longest_pause_s=0.2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "log.db"


@pytest.fixture
def log(path: Path, tmp_path: Path) -> Iterator[DecisionLog]:
    with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as log:
        yield log


@pytest.fixture
def bare(path: Path) -> Iterator[DecisionLog]:
    """A log without a spill folder."""
    with contextlib.closing(DecisionLog(path, queue_size=4, limits=QUICK)) as log:
        yield log


def answered(log: DecisionLog) -> set[str]:
    return {row.request_id for row in log.read_answers()}


def decided(log: DecisionLog) -> list[str]:
    return [row.id for row in log.read_decisions()]


def counted(log: DecisionLog, kind: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for count in log.read_counts():
        if count.kind == kind:
            found[count.key] = found.get(count.key, 0) + count.n
    return found


def count(log: DecisionLog) -> None:
    log.count("student", "payments", False, False, True, ("payments", 0.93), 1.2)


def spilled(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "spill").glob("*.jsonl"))


def test_rows_and_counts_are_there_after_closing(log: DecisionLog) -> None:
    log.put(decision("d", sampled=True))
    log.put(correction("d"))
    count(log)
    kept = log.keep(answer("d"))
    kept.result(SOON_S)
    log.close()
    assert decided(log) == ["d"]
    assert answered(log) == {"d"}
    assert [row.intent for row in log.read_corrections()] == ["account"]
    assert counted(log, "requests") == {"all": 1}
    assert log.stats()["written"] == 3


def test_what_is_kept_can_be_read_at_once(log: DecisionLog) -> None:
    for i in range(20):
        log.keep(answer(str(i))).result(SOON_S)
        assert str(i) in answered(log)


def test_a_log_goes_on_after_it_was_closed(log: DecisionLog) -> None:
    for i in range(3):
        log.keep(answer(str(i))).result(SOON_S)
        log.close()
        log.close()
    assert answered(log) == {"0", "1", "2"}


def test_plain_rows_are_written_without_closing(log: DecisionLog) -> None:
    log.put(decision("d"))
    count(log)
    wait_until(lambda: log.stats()["written"] == 1)
    wait_until(lambda: counted(log, "requests") == {"all": 1})


def test_many_threads_write_and_nothing_is_lost(log: DecisionLog) -> None:
    def work(name: int) -> None:
        for i in range(100):
            log.put(decision(f"{name}-{i}"))
            count(log)
        log.keep(answer(str(name))).result(SOON_S)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(set(decided(log))) == 800
    assert len(answered(log)) == 8
    assert counted(log, "requests") == {"all": 800}


def test_wrong_arguments_raise_at_once(log: DecisionLog, path: Path) -> None:
    with pytest.raises(TypeError, match="takes a Decision, TeacherAnswer, Correction or TrialAnswer, got dict"):
        log.put({"text": "x"})  # type: ignore[arg-type]
    for size in (0, 1.5, True):
        with pytest.raises(ValueError, match="queue_size"):
            DecisionLog(path, queue_size=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="older_than_days"):
        log.purge(-1)


def test_purge_goes_by_age(log: DecisionLog) -> None:
    log.put(decision("old", time=decision("now").time - 10 * 86_400))
    log.put(decision("young"))
    log.close()
    assert log.purge(older_than_days=9) == 1
    assert decided(log) == ["young"]


def test_nobody_waits_while_another_process_holds_the_file(path: Path) -> None:
    log = DecisionLog(path, limits=Limits(locked_s=600))
    log.keep(answer("before")).result(SOON_S)
    with locked(path):
        kept = log.keep(answer("waits"))
        for i in range(500):
            log.put(decision(str(i)))
            count(log)
        assert log.healthy
        assert not kept.done()
        assert log.stats()["written"] == 1
    kept.result(SOON_S)
    log.close()
    assert len(decided(log)) == 500


def test_a_locked_file_spills_and_is_caught_up_with(log: DecisionLog, path: Path, tmp_path: Path) -> None:
    log.keep(answer("before")).result(SOON_S)
    with locked(path):
        log.put(decision("d"))
        count(log)
        log.keep(answer("spilled")).result(SOON_S)
        assert log.healthy
        assert "locked" in log.stats()["error"]
        assert len(spilled(tmp_path)) == 1
    wait_until(lambda: not spilled(tmp_path))
    log.close()
    assert answered(log) == {"before", "spilled"}
    assert decided(log) == ["d"]
    assert counted(log, "requests") == {"all": 1}
    assert counted(log, "spilled") == {"rows": 2}
    assert log.stats()["read_back"] == 2
    assert log.stats()["error"] is None


def test_what_was_spilled_is_read_back_at_the_next_start_once(log: DecisionLog, path: Path, tmp_path: Path) -> None:
    log.keep(answer("before")).result(SOON_S)
    with locked(path):
        for i in range(30):
            log.put(decision(str(i)))
            count(log)
        log.keep(answer("spilled")).result(SOON_S)
        log.close()
    (left,) = spilled(tmp_path)
    for _ in range(2):
        copy = shutil.copy(left, tmp_path / "copy")
        with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as later:
            assert later.healthy
            wait_until(lambda: not spilled(tmp_path))
        assert answered(log) == {"before", "spilled"}
        assert len(decided(log)) == 30
        assert counted(log, "requests") == {"all": 30}
        shutil.copy(copy, left)


def test_without_a_spill_folder_a_locked_file_is_an_error_and_nothing_paid_for_is_dropped(
    bare: DecisionLog, path: Path
) -> None:
    bare.keep(answer("before")).result(SOON_S)
    with locked(path):
        for i in range(10):
            with pytest.raises(LogError, match="locked"):
                bare.keep(answer(str(i))).result(SOON_S)
            bare.put(decision(str(i), deferred=True))
        assert not bare.healthy
        wait_until(lambda: bare.stats()["waiting"] == 10 and bare.stats()["dropped"] == {"deferred": 10})
    wait_until(lambda: bare.healthy)
    bare.close()
    assert answered(bare) == {"before", *map(str, range(10))}
    assert counted(bare, "dropped") == {"deferred": 10}


def test_a_full_queue_keeps_what_is_worth_most(bare: DecisionLog, path: Path) -> None:
    bare.keep(answer("before")).result(SOON_S)
    with locked(path):
        for i in range(3):
            bare.put(decision(f"local {i}"))
            bare.put(decision(f"sampled {i}", sampled=True))
            bare.put(decision(f"deferred {i}", deferred=True))
        bare.put(correction("c"))
        wait_until(lambda: bare.stats()["dropped"] == {"local": 3, "sampled": 3})
    bare.close()
    assert decided(bare) == ["deferred 0", "deferred 1", "deferred 2"]
    assert len(list(bare.read_corrections())) == 1


def test_neither_log_nor_spill_is_an_error_until_one_is_back(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    (tmp_path / "spill").write_text("in the way")
    with contextlib.closing(DecisionLog(tmp_path / "data" / "log.db", spill=tmp_path / "spill", limits=QUICK)) as log:
        wait_until(lambda: not log.healthy)  # before anything was to be written
        with pytest.raises(LogError, match=r"cannot be written: .*; the spill folder cannot be written either: "):
            log.keep(answer("a")).result(SOON_S)
        (tmp_path / "spill").unlink()
        wait_until(lambda: log.healthy)
        log.keep(answer("b")).result(SOON_S)
        (tmp_path / "data").unlink()
        wait_until(lambda: log.stats()["read_back"] == 2)
        assert answered(log) == {"a", "b"}


def test_a_log_that_was_deleted_is_made_anew(log: DecisionLog, path: Path) -> None:
    log.keep(answer("lost")).result(SOON_S)
    shutil.rmtree(path.parent)
    log.keep(answer("kept")).result(SOON_S)
    assert answered(log) == {"kept"}


def test_a_log_of_a_newer_schema_is_left_alone(log: DecisionLog, path: Path, tmp_path: Path) -> None:
    log.keep(answer("before")).result(SOON_S)
    log.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute("INSERT INTO schema_version (version) VALUES (5)")
    log.keep(answer("spilled")).result(SOON_S)
    assert "has schema 5" in log.stats()["error"]
    assert len(spilled(tmp_path)) == 1


# No file may be larger than 256 KB for a while, as on a disk that is full by then.
FULL_DISK = """
import resource, sys, time
from inference.log import DecisionLog, LogError, TeacherAnswer
log = DecisionLog(sys.argv[1], spill=sys.argv[2])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
def keep(i):
    log.keep(TeacherAnswer(str(i), 1.0, "t" * 8000, "t", "p", "l", None, {}, 0.1, None, False)).result(60)
keep(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (262144, hard))
i = 0
try:
    while True:
        i += 1
        keep(i)
except LogError as error:
    print(error)
assert log.stats()["spilled"] > 0 and log.stats()["written"] > 1, log.stats()
assert not log.healthy
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
deadline = time.monotonic() + 60
while not log.healthy or log.stats()["waiting"] or log.stats()["read_back"] < log.stats()["spilled"]:
    assert time.monotonic() < deadline, log.stats()
    time.sleep(0.05)
log.close()
assert {row.request_id for row in log.read_answers()} == {str(n) for n in range(i + 1)}
"""


def test_a_full_disk_is_survived(path: Path, tmp_path: Path) -> None:
    run_program(FULL_DISK, path, tmp_path / "spill")
    check_integrity(path)


def run_program(program: str, *arguments: object) -> str:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


AT_EXIT = """
import sys
from inference.log import Correction, DecisionLog
log = DecisionLog(sys.argv[1])
log.put(Correction("r", 1.0, "t", "i"))
log.count("student", "payments", False, False, True, ("payments", 0.93), 1.2)
"""


def test_what_waits_is_written_at_exit(path: Path) -> None:
    run_program(AT_EXIT, path)
    log = DecisionLog(path, limits=QUICK)
    assert len(list(log.read_corrections())) == 1
    assert counted(log, "requests") == {"all": 1}


def test_a_server_that_stops_spills_and_is_caught_up_with(tmp_path: Path) -> None:
    with postgres_server() as server:
        log = DecisionLog(server.url, spill=tmp_path / "spill", limits=QUICK)
        log.keep(answer("before")).result(SOON_S)
        for how, name in ((signal.SIGINT, "stopped"), (signal.SIGKILL, "killed")):
            server.stop(how)
            log.put(decision(name))
            count(log)
            log.keep(answer(name)).result(SOON_S)
            assert log.healthy
            assert len(spilled(tmp_path)) == 1
            server.start()
            wait_until(lambda: not spilled(tmp_path))
        log.close()
        assert answered(log) == {"before", "stopped", "killed"}
        assert sorted(decided(log)) == ["killed", "stopped"]
        assert counted(log, "requests") == {"all": 2}


def test_a_server_that_hangs_spills_and_is_caught_up_with(tmp_path: Path) -> None:
    with postgres_server() as server:
        log = DecisionLog(server.url, spill=tmp_path / "spill", limits=replace(QUICK, hung_s=2.0))
        log.keep(answer("before")).result(SOON_S)
        with server.frozen():
            log.keep(answer("spilled")).result(SOON_S)
            assert log.healthy
        wait_until(lambda: not spilled(tmp_path))
        assert answered(log) == {"before", "spilled"}
        log.close()


def test_two_processes_share_a_spill_folder(log: DecisionLog, path: Path, tmp_path: Path) -> None:
    log.keep(answer("before")).result(SOON_S)
    with locked(path):
        log.keep(answer("mine")).result(SOON_S)
        theirs = start_child(path, tmp_path / "spill", "theirs")
        assert theirs.stdout is not None
        assert theirs.stdout.readline() == "theirs 0\n"
        theirs.kill()
        acknowledged = {"theirs 0", *theirs.communicate()[0].split("\n")[:-1]}
        assert len(spilled(tmp_path)) == 2
    log.close()
    assert {"before", "mine"} <= answered(log)
    with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as later:
        assert later.healthy
        wait_until(lambda: not spilled(tmp_path))
    assert acknowledged <= answered(log)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_forked_child_writes_for_itself_while_the_parent_is_busy(kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        url = str(tmp_path / "log.db")
        if kind == "postgresql":
            url = stack.enter_context(fresh_database(stack.enter_context(postgres_server()).url))
        patient = DecisionLog(url, spill=tmp_path / "spill", limits=Limits(locked_s=60))
        log = stack.enter_context(contextlib.closing(patient))
        stop, parents = threading.Event(), 0

        def keep_busy() -> None:
            nonlocal parents
            while not stop.is_set():
                log.keep(answer(f"parent {parents}")).result(SOON_S)
                parents += 1

        busy = threading.Thread(target=keep_busy)
        busy.start()
        for child in range(4):
            log.put(decision(f"parent {child}"))
            pid = os.fork()
            if pid == 0:
                try:
                    # SQLite's locks are wrong in a child that inherits a connection.
                    assert not [name for name in open_files() if name.startswith(url)]
                    log.keep(answer(f"child {child}")).result(SOON_S)
                    count(log)
                    log.close()
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(pid, 0)[1] == 0
        stop.set()
        busy.join()
        log.close()
        # What a child found locked as it ended was spilled, and is there for the next start.
        with contextlib.closing(DecisionLog(url, spill=tmp_path / "spill", limits=QUICK)) as late:
            assert late.healthy
            wait_until(lambda: not spilled(tmp_path))
        assert answered(log) == {*(f"child {i}" for i in range(4)), *(f"parent {i}" for i in range(parents))}
        assert sorted(decided(log)) == [f"parent {i}" for i in range(4)]
        assert counted(log, "requests") == {"all": 4}
        assert not spilled(tmp_path)


@needs_fork
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_child_of_a_c_librarys_fork_writes_for_itself(kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        url = str(tmp_path / "log.db")
        if kind == "postgresql":
            url = stack.enter_context(fresh_database(stack.enter_context(postgres_server()).url))
        log = stack.enter_context(contextlib.closing(DecisionLog(url, spill=tmp_path / "spill", limits=QUICK)))
        log.keep(answer("parent 1")).result(SOON_S)
        wait_until(lambda: log._writing.acquire(blocking=False))  # the writer is at rest
        log.put(decision("the parent's"))

        def check() -> bool:
            fresh = log.stats()["waiting"] == 0 and not log.worker.running
            log.keep(answer("child")).result(SOON_S)
            count(log)
            log.close()
            return fresh and log.healthy and log.stats()["error"] is None

        assert holds_in_child(c_fork, check)
        log._writing.release()
        log.keep(answer("parent 2")).result(SOON_S)
        log.close()
        assert answered(log) == {"parent 1", "child", "parent 2"}
        assert decided(log) == ["the parent's"]
        assert counted(log, "requests") == {"all": 1}


@needs_fork
def test_a_child_that_was_forked_while_its_parent_wrote_spills(log: DecisionLog, path: Path, tmp_path: Path) -> None:
    log.keep(answer("parent")).result(SOON_S)
    with log._writing:
        log._store.write([answer("as it forks")])
        assert holds_in_child(c_fork, lambda: log.keep(answer("child")).result(SOON_S) is None and log.healthy)
        log._store.rest()
    log.close()
    with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as late:
        assert late.healthy
        wait_until(lambda: not spilled(tmp_path))
    assert answered(log) == {"parent", "as it forks", "child"}
    check_integrity(path)


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1), RuntimeError("a bug")])
@pytest.mark.parametrize("where", ["commit", "save", "read_back"])
def test_an_unexpected_error_in_the_writer_loses_nothing_and_is_over_by_itself(
    where: str, error: BaseException, log: DecisionLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.keep(answer("before")).result(SOON_S)
    right, errors = getattr(log._sink, where), [error] * 3

    def wrong(*arguments: object) -> object:
        if errors:
            raise errors.pop()
        return right(*arguments)

    monkeypatch.setattr(log._sink, where, wrong)
    with locked(path) if where == "save" else contextlib.nullcontext():
        with contextlib.suppress(LogError):
            log.keep(answer("first")).result(SOON_S)
        wait_until(lambda: not errors)
        wait_until(lambda: log.healthy)
    assert log.worker.state()["failures"] == 3
    log.keep(answer("second")).result(SOON_S)
    log.close()
    with contextlib.closing(DecisionLog(path, spill=path.parent.parent / "spill", limits=QUICK)) as late:
        assert late.healthy
        wait_until(lambda: answered(late) == {"before", "first", "second"})


def test_without_a_thread_rows_are_kept_by_the_caller_and_closing_writes_the_rest(
    log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        log.keep(answer("paid")).result(0)
        log.put(decision("waits"))
        count(log)
        log.close()
    assert answered(log) == {"paid"}
    assert decided(log) == ["waits"]
    assert counted(log, "requests") == {"all": 1}
    log.put(decision("later"))
    log.close()
    assert decided(log) == ["waits", "later"]


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def open_files() -> list[str]:
    with contextlib.suppress(FileNotFoundError):  # the listing's own is gone
        return [os.readlink(path) for path in list(Path("/proc/self/fd").iterdir()) if path.is_symlink()]
    return []


# Says which rows are kept as soon as they are, with other rows and counts in between.
WORKER = """
import itertools, sys, time
from inference.log import Decision, DecisionLog, TeacherAnswer
log = DecisionLog(sys.argv[1], spill=sys.argv[2])
for i in itertools.count():
    name = f"{sys.argv[3]} {i}"
    log.put(Decision(name, time.time(), "t", "l", 0.9, False, "fallback", False, True, False, "b", 1.0, "down"))
    log.count("fallback", "l", False, True, False, ("l", 0.4), 1.0)
    log.keep(TeacherAnswer(name, time.time(), "t", "t", "p", "l", None, {}, 0.1, None, False)).result(60)
    print(name, flush=True)
"""


def start_child(path: Path, spill: Path, name: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WORKER, str(path), str(spill), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("kills", [pytest.param(5, id="few"), pytest.param(50, id="many", marks=pytest.mark.soak)])
def test_every_acknowledged_row_survives_a_kill(kills: int, path: Path, tmp_path: Path) -> None:
    dice = random.Random(kills)
    acknowledged: set[str] = set()
    with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as log:
        log.keep(answer("first")).result(SOON_S)
    for kill in range(kills):
        with contextlib.ExitStack() as stack:
            if kill % 3 == 1:  # all goes into the spill folder
                stack.enter_context(locked(path))
            child = stack.enter_context(start_child(path, tmp_path / "spill", f"child {kill}"))
            assert child.stdout is not None
            lines = [child.stdout.readline()]
            lines += [child.stdout.readline() for _ in range(dice.randrange(30))]
            child.kill()
            acknowledged |= set("".join([*lines, child.stdout.read()]).split("\n")[:-1])
        check_integrity(path)
        with contextlib.closing(DecisionLog(path, spill=tmp_path / "spill", limits=QUICK)) as log:
            assert log.healthy
            wait_until(lambda: not spilled(tmp_path))
            assert acknowledged <= answered(log)
    assert len(acknowledged) > kills
    assert len(list(log.read_answers())) == len(answered(log))


def test_no_file_is_open_once_a_row_is_said_to_be_kept(log: DecisionLog, path: Path) -> None:
    for number in range(20):
        log.keep(answer(f"row {number}")).result(SOON_S)
        assert not [name for name in open_files() if name.startswith(str(path))]
