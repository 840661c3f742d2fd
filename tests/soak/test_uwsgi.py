"""uWSGI as it comes: the application is loaded in the master, warmed up there, and forked without Python's hooks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.log import DecisionLog

pytestmark = pytest.mark.soak

APP = """
import json, os, urllib.parse
from inference.cascade import Cascade

cascade = Cascade.load({home!r}, teacher=lambda text: "payments", strategy="tiered", sample_rate=0.0, cache_size=0)
assert cascade.classify("a warm-up in the master").source == "teacher"

def application(environment, start_response):
    answer = cascade.classify(urllib.parse.unquote(environment["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "application/json")])
    fields = (os.getpid(), answer.source, answer.intent, answer.reason, answer.latency_ms)
    return [json.dumps(fields).encode()]
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def ask(port: int, text: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{text}", timeout=20) as reply:
        return json.load(reply)


@pytest.fixture
def server(tiny_home: Path, tmp_path: Path) -> Iterator[tuple[int, Path]]:
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    (tmp_path / "app.py").write_text(APP.format(home=str(home)))
    uwsgi = Path(sys.executable).with_name("uwsgi")
    assert uwsgi.exists(), "make soak installs uWSGI"
    port = free_port()
    options = ["--master", "--processes", "2", "--need-app", "--die-on-term", "--home", sys.prefix]
    command = [uwsgi, "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", tmp_path / "app.py", *options]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with (
        (tmp_path / "uwsgi.log").open("wb") as log,
        subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log) as running,
    ):
        try:
            wait_until_up(port, running)
            yield port, home
        finally:
            running.terminate()
            running.wait(30)


def wait_until_up(port: int, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and running.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("uWSGI did not start; see uwsgi.log")


def test_both_workers_defer_and_log_after_a_warm_up_in_the_master(server: tuple[int, Path]) -> None:
    port, home = server
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda number: ask(port, f"question-{number}"), range(200)))
    assert len({process for process, *_ in answers}) == 2
    assert {(source, intent) for _, source, intent, *_ in answers} == {("teacher", "payments")}
    log, until = DecisionLog(home / "decisions.db"), time.monotonic() + 20
    texts: set[str] = set()
    while len(texts) < 201 and time.monotonic() < until:
        time.sleep(0.5)
        texts = {decision.text for decision in log.read_decisions()}
    assert texts == {"a warm-up in the master", *(f"question-{number}" for number in range(200))}
