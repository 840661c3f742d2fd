"""Files through a Ray cluster on this machine: the output of the plain command, whoever is killed on the way."""

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.manifest import Bundle
from tests.soak.running import free_port, program, running

RAY = importlib.util.find_spec("ray")  # not imported: its warnings would be errors here
pytestmark = [pytest.mark.soak, pytest.mark.skipif(RAY is None, reason="Ray is not installed (the extra ray has it)")]
WORDS = ("refund", "the", "invoice", "reset", "my", "password", "please", "ticket", "ünï", "zebra", "now")
SMALL = ("--part-rows", 20)
ENDS_WITHIN_S = 900  # on a busy machine: Ray starts ten processes before it does anything


def write_rows(path: Path, count: int) -> Path:
    rng = random.Random(0)
    rows = [{"id": i, "text": " ".join(rng.choices(WORDS, k=rng.randrange(1, 9)))} for i in range(count)]
    lines = [*map(json.dumps, rows[:7]), "{", '{"id": 5}', *map(json.dumps, rows[7:])]
    path.write_text("\n".join(lines))
    return path


def start(bundle: Path, given: Path, out: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "inference.bulk", "--bundle", bundle, given, "--out", out, *arguments]
    home = out.parent / "home"  # where Ray must write nothing
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, env=environment)


def ended(running: subprocess.Popen[bytes]) -> tuple[int, str]:
    error = running.communicate(timeout=ENDS_WITHIN_S)[1].decode()
    return running.returncode or 0, error


def plain(bundle: Path, given: Path, out: Path, *arguments: object) -> None:
    assert ended(start(bundle, given, out, "--workers", 1, *arguments))[0] == 1  # two rows cannot be read


def same(one: Path, other: Path) -> bool:
    left = [path.with_name(f"{path.stem}.deferred.jsonl").read_bytes() for path in (one, other)]
    return bool(left[0]) and left[0] == left[1] and one.read_bytes() == other.read_bytes()


def workers(process: int) -> list[int]:
    """The actors that a command's own Ray has started, of all the processes below it."""
    found, level = [], [process]
    while level:
        level = [int(one) for parent in level for one in children(parent)]
        found += [one for one in level if b"MapWorker" in program_of(one)]
    return found


def children(process: int) -> list[str]:
    try:
        return " ".join(path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")).split()
    except OSError:  # it has just ended
        return []


def program_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def parts_of(out: Path) -> int:
    return len(list(Path(f"{out}.parts").glob("[0-9]*[0-9].json")))


def wait_for(parts: int, out: Path, command: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + ENDS_WITHIN_S
    while parts_of(out) < parts and command.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert command.poll() is None, ended(command)


def begun(bundle: Path, folder: Path, rows: int, workers: int) -> subprocess.Popen[bytes]:
    """Ray at work on `in.jsonl`, three parts of it done; what the plain command makes is in `plain.jsonl`."""
    given, out = write_rows(folder / "in.jsonl", rows), folder / "ray.jsonl"
    plain(bundle, given, folder / "plain.jsonl", *SMALL)
    command = start(bundle, given, out, "--engine", "ray", "--workers", workers, *SMALL)
    wait_for(3, out, command)
    return command


@pytest.mark.parametrize(("count", "ending"), [(1, "jsonl"), (2, "parquet")])
def test_workers_of_ray_make_what_the_plain_command_does(
    count: int, ending: str, tiny_home: Path, tmp_path: Path
) -> None:
    given = write_rows(tmp_path / "in.jsonl", 500)
    size = ("--part-rows", 50)
    plain(tiny_home, given, tmp_path / f"plain.{ending}", *size)
    out = tmp_path / f"ray.{ending}"
    status, error = ended(start(tiny_home, given, out, "--engine", "ray", "--workers", count, *size))
    assert (status, error.splitlines()[-1][:32]) == (1, f"502 rows in {out}"[:32]), error
    assert "Traceback" not in error
    assert same(out, tmp_path / f"plain.{ending}")
    assert list((tmp_path / "home").iterdir()) == []


def test_a_worker_of_four_that_is_killed_costs_no_row_and_doubles_none(tiny_home: Path, tmp_path: Path) -> None:
    command, out = begun(tiny_home, tmp_path, rows=4000, workers=4), tmp_path / "ray.jsonl"
    os.kill(workers(command.pid)[0], signal.SIGKILL)
    assert parts_of(out) < 190
    assert ended(command)[0] == 1
    assert same(out, tmp_path / "plain.jsonl")


def test_a_run_that_is_killed_goes_on_and_leaves_no_process(tiny_home: Path, tmp_path: Path) -> None:
    command, out = begun(tiny_home, tmp_path, rows=2000, workers=1), tmp_path / "ray.jsonl"
    (worker,) = workers(command.pid)
    command.kill()
    assert ended(command)[0] == -signal.SIGKILL
    assert not out.exists()
    until = time.monotonic() + 60
    while program_of(worker) and time.monotonic() < until:
        time.sleep(0.1)
    assert program_of(worker) == b""
    again = start(tiny_home, tmp_path / "in.jsonl", out, "--engine", "ray", "--workers", 1, *SMALL)
    assert ended(again)[0] == 1
    assert same(out, tmp_path / "plain.jsonl")


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    port, home = free_port(), tempfile.mkdtemp(prefix="ray")  # tmp_path may be too long for a socket in it
    options = ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={home}", "--num-cpus=1"]
    command = [program("ray", "the extra ray has it"), "start", "--head", "--block", f"--port={port}", *options]
    log, until = tmp_path / "log", time.monotonic() + ENDS_WITHIN_S
    agent = f"--dashboard-agent-listen-port={free_port()}"
    with running([*command, agent], port, log, RAY_AUTH_MODE="disabled") as server:
        while "block forever" not in log.read_text() and time.monotonic() < until:
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        server.terminate()
        server.wait(ENDS_WITHIN_S)  # it ends its ten processes first
    shutil.rmtree(home)


def test_a_cluster_that_runs_already_takes_as_many_workers_as_it_has_cores(
    address: str, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    given, out = write_rows(tmp_path / "in.jsonl", 100), tmp_path / "ray.jsonl"
    there = ("--engine", "ray", "--address", address)
    status, error = ended(start(tiny_home, given, out, *there, "--workers", 3))
    assert status == 2
    assert "--workers 3 need a CPU each, and the Ray cluster has 1" in error
    assert ended(start(tiny_home, given, out, *there))[0] == 1
    plain(tiny_home, given, tmp_path / "plain.jsonl")
    assert same(out, tmp_path / "plain.jsonl")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--address", "127.0.0.1:1"], "no Ray cluster can be reached at 127.0.0.1:1: [Errno 111]"),
        (["--address", "auto"], "no Ray cluster can be reached at auto: "),
    ],
)
def test_a_cluster_that_is_not_there_is_told(
    arguments: list[str], message: str, tiny_home: Path, tmp_path: Path
) -> None:
    given, out = write_rows(tmp_path / "in.jsonl", 5), tmp_path / "ray.jsonl"
    status, error = ended(start(tiny_home, given, out, "--engine", "ray", *arguments))
    assert status == 2
    assert message in error


def test_what_is_wrong_with_a_file_is_told_as_without_ray(tiny_home: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "in.csv", tmp_path / "ray.jsonl"
    given.write_text('text\n"refund\n')
    status, error = ended(start(tiny_home, given, out, "--engine", "ray", "--workers", 1))
    assert (status, error.splitlines()[-1]) == (2, f"error: {given} cannot be read as .csv: unexpected end of data")


ALONE = """
import os, signal, sys
from pathlib import Path
from inference.batch import cluster, parts
from inference.batch.records import sources

given, bundle, bundle_id, died = sys.argv[1:]

class Run(parts.Run):
    def parts(self):
        for number, rows in super().parts():
            if number == 3 and not os.path.exists(died):
                open(died, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            yield number, rows

home = Path(given).with_name("parts")
home.mkdir()
print(cluster.classify(Run(home, sources([given]), "text", 1, bundle, bundle_id, 0.95), lambda rows: None, None, 1))
"""


def alone(folder: Path, bundle: object, bundle_id: str) -> subprocess.CompletedProcess[str]:
    """The engine for Ray on six rows, in a process of its own; what reads them is killed once, at the third."""
    (folder / "in.txt").write_text("".join(f"refund {number}\n" for number in range(6)))
    command = [sys.executable, "-c", ALONE, folder / "in.txt", bundle, bundle_id, folder / "died"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=ENDS_WITHIN_S)


def test_what_reads_the_files_may_be_killed_too(tiny_home: Path, tmp_path: Path) -> None:
    found = alone(tmp_path, tiny_home, Bundle.load(tiny_home).manifest.bundle_id)
    assert found.stdout.splitlines()[-1:] == ["6"], found.stderr  # Ray says before that a worker died
    assert (tmp_path / "died").exists()
    texts = [json.loads(path.read_text())["text"] for path in sorted((tmp_path / "parts").glob("*[0-9].jsonl"))]
    assert texts == [f"refund {number}" for number in range(6)]


def test_a_bundle_that_a_worker_does_not_have_is_told(tmp_path: Path) -> None:
    assert "cannot use the bundle gone: " in alone(tmp_path, "gone", "id").stderr
