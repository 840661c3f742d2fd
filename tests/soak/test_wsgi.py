"""Web servers that fork, each in the way it comes; where the application is loaded in the master it is warmed up there.

uWSGI forks without Python's hooks.
"""

import json
import os
import shutil
import sys
import time
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.log import DecisionLog
from tests.soak.running import free_port, program, running

pytestmark = pytest.mark.soak
QUESTIONS = 200

APP = """
import json, os, urllib.parse
from inference.cascade import Cascade

cascade = Cascade.load({home!r}, teacher=lambda text: "payments", strategy="tiered", sample_rate=0.0, cache_size=0,
                       deadline_s=20.0)
assert cascade.classify("a warm-up").source == "teacher"

def application(environment, start_response):
    answer = cascade.classify(urllib.parse.unquote(environment["QUERY_STRING"]))
    start_response("200 OK", [("Content-Type", "application/json")])
    fields = (os.getpid(), answer.source, answer.intent, answer.reason, answer.latency_ms)
    return [json.dumps(fields).encode()]
"""
SOAK = "the extra soak has it"
SERVERS = {
    "uwsgi": ["uwsgi", "--master", "--processes", "2", "--need-app", "--die-on-term", "--home", sys.prefix],
    "sync": ["gunicorn", "--worker-class", "sync"],
    "gthread": ["gunicorn", "--worker-class", "gthread", "--threads", "4"],
    "gevent": ["gunicorn", "--worker-class", "gevent"],
    "sync preload": ["gunicorn", "--worker-class", "sync", "--preload"],
    "gthread preload": ["gunicorn", "--worker-class", "gthread", "--threads", "4", "--preload"],
    "gevent preload": ["gunicorn", "--worker-class", "gevent", "--preload"],
}


def command(options: Sequence[str], port: int, folder: Path) -> list[object]:
    name, *rest = options
    if "gevent" in rest:
        pytest.importorskip("gevent", reason=f"gevent is not installed ({SOAK})")
    if name == "uwsgi":
        return [program(name, SOAK), *rest, "--http-socket", f"127.0.0.1:{port}", "--wsgi-file", folder / "app.py"]
    place = ["--bind", f"127.0.0.1:{port}", "--chdir", folder, "--workers", "2", "--timeout", "120", "app:application"]
    return [program(name, SOAK), *rest, *place]


def ask(port: int, text: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{text}", timeout=60) as reply:
        return json.load(reply)


@pytest.mark.parametrize("options", SERVERS.values(), ids=SERVERS)
def test_both_workers_defer_and_log(options: Sequence[str], tiny_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    (tmp_path / "app.py").write_text(APP.format(home=str(home)))
    port = free_port()
    with running(command(options, port, tmp_path), port, tmp_path / "server.log", PYTHONPATH=str(Path.cwd())):
        with ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(lambda number: ask(port, f"question-{number}"), range(QUESTIONS)))
        assert {(source, intent, reason) for _, source, intent, reason, _ in answers} == {("teacher", "payments", None)}
        assert len({process for process, *_ in answers} - {os.getpid()}) == 2
        log, until = DecisionLog(home / "decisions.db"), time.monotonic() + 30
        texts: set[str] = set()
        while len(texts) < QUESTIONS + 1 and time.monotonic() < until:
            time.sleep(0.5)
            texts = {decision.text for decision in log.read_decisions()}
    assert texts == {"a warm-up", *(f"question-{number}" for number in range(QUESTIONS))}
