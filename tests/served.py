"""The real service in a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

STARTS_WITHIN_S = 120

# A teacher that answers once a file exists, so that a test decides when, and leaves a file for each call; it fails for
# texts with "fail" in them.
TEACHER = """
import os, time, uuid
from pathlib import Path

def label(text):
    if "fail" in text:
        raise ConnectionError("no teacher")
    may = Path(os.environ["TEACHER_MAY"])
    may.with_name(f"asked-{uuid.uuid4().hex}").touch()
    while not may.exists():
        time.sleep(0.01)
    return "payments"
"""


class Reply(NamedTuple):
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Served:
    """A service: its process, its port and its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def get(self, path: str, **headers: str) -> Reply:
        return self.send(path, None, **headers)

    def head(self, path: str) -> tuple[int, bytes]:
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method="HEAD")
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return reply.status, reply.read()

    def post(self, path: str, given: Any, **headers: str) -> Reply:
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        return self.send(path, body, **{"Content-Type": "application/json", **headers})

    def send(self, path: str, body: bytes | None, **headers: str) -> Reply:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, named)
        try:
            with urllib.request.urlopen(asked, timeout=60) as reply:
                return Reply(reply.status, reply.headers, reply.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read().decode())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 60)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged: every line is JSON."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def served(home: Path | str, folder: Path, *flags: str, **environment: str) -> Iterator[Served]:
    """Serve `home`, with the teacher above once `folder`/may exists; Served, once it answers."""
    folder.mkdir(exist_ok=True)
    (folder / "given_teacher.py").write_text(TEACHER)
    paths = os.pathsep.join([str(Path.cwd()), str(folder)])
    command = [sys.executable, "-m", "inference.serve", "--bundle", str(home), "--port", "0", *flags]
    given = {**os.environ, "PYTHONPATH": paths, "TEACHER_MAY": str(folder / "may"), **environment}
    log = folder / "log.jsonl"
    with log.open("wb") as file, subprocess.Popen(command, env=given, stderr=file) as process:
        try:
            yield _once_up(process, log)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def _once_up(process: subprocess.Popen[bytes], log: Path) -> Served:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text(errors="replace"))
        if found is not None:
            with contextlib.suppress(OSError):
                service = Served(process, int(found[1]), log)
                service.connect().close()
                return service
        time.sleep(0.05)
    raise AssertionError(f"it did not start: {log.read_text(errors='replace')[-2000:]}")
