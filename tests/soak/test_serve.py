"""The service under load: two workers, 200 connections, a teacher that fails one call in ten."""

import http.client
import json
import shutil
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.log.decision_log import DecisionLog
from tests.logged import wait_until
from tests.served import Served, served

pytestmark = pytest.mark.soak
CONNECTIONS, SECONDS = 200, 60.0
HEADERS = {"Content-Type": "application/json"}
TEACHER = """
import itertools
calls = itertools.count()

def label(text):
    if next(calls) % 10 == 0:
        raise ConnectionError("one in ten")
    return "payments"
"""


def ask_until(service: Served, until: float, number: int) -> list[tuple[int, float, float]]:
    """Status, seconds, and seconds of these within the cascade, of one request after the other on one connection.

    Half of the texts were asked before.
    """
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    while time.monotonic() < until:
        text = f"undo the refund {len(found) % 20}" if len(found) % 2 else f"text {number} {len(found)}"
        began = time.monotonic()
        connection.request("POST", "/classify", json.dumps({"text": text}), HEADERS)
        reply = connection.getresponse()
        answered = json.loads(reply.read())
        found.append((reply.status, time.monotonic() - began, answered.get("latency_ms", 0.0) / 1000))
    connection.close()
    return found


def percentiles(what: str, seconds: list[float]) -> str:
    found = statistics.quantiles(seconds, n=100)
    return f"{what}: p50 {found[49]:.3f} s, p99 {found[98]:.3f} s"


def memory_kb(service: Served) -> int:
    """Of both workers, as they are now."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    statuses = [Path(f"/proc/{child}/status").read_text() for child in children]
    return sum(int(line.split()[1]) for status in statuses for line in status.splitlines() if line.startswith("VmRSS"))


def test_nothing_fails_memory_stays_and_a_stop_loses_no_row(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    (tmp_path / "flaky_teacher.py").write_text(TEACHER)
    flags = ("--teacher", "python:flaky_teacher:label", "--workers", "2")
    settings = {"MONOKU_STRATEGY": "tiered", "MONOKU_SAMPLE_RATE": "0"}
    with served(home, tmp_path, *flags, **settings) as service:
        wait_until(lambda: "monoku_processes 2.0" in service.get("/metrics").text)
        ask_until(service, time.monotonic() + 5, -1)  # caches and pools have their size
        with ThreadPoolExecutor(CONNECTIONS) as clients:
            until = time.monotonic() + SECONDS
            futures = [clients.submit(ask_until, service, until, number) for number in range(CONNECTIONS)]
            time.sleep(SECONDS / 4)
            before = memory_kb(service)
            replies = [reply for future in futures for reply in future.result()]
        after = memory_kb(service)
        time.sleep(2)  # the figures of the other worker are a second old
        counted = [
            line for line in service.get("/metrics").text.splitlines() if line.startswith("monoku_requests_total")
        ]
        asked = sum(float(line.split()[-1]) for line in counted)
        assert service.stop() == 0
    with capsys.disabled():
        print(f"\n{len(replies)} requests in {SECONDS:g} s; {before} to {after} kB in both workers")
        print(percentiles("as the clients saw it", [taken for _, taken, _ in replies]))
        print(percentiles("within the cascade", [within for _, _, within in replies]))
        print(percentiles("on the way, and waiting for a worker", [taken - within for _, taken, within in replies]))
    assert {status for status, _, _ in replies} == {200}
    assert after < before * 1.25
    log = DecisionLog(home / "decisions.db")
    assert sum(count.n for count in log.read_counts() if (count.kind, count.key) == ("requests", "all")) == asked
