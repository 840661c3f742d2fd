"""Third-party servers for soak tests: each is skipped, with the reason, where its program is not installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

STARTS_WITHIN_S = 120


def program(name: str, where: str) -> Path:
    """The path of a program beside this Python, or on the PATH. Skips the test, saying `where` it comes from."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed ({where})")
    return Path(found)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[object], port: int, log: Path, user: str | None = None, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it listens on the port; what it prints goes to `log`. As `user`, if this process is root."""
    group = pwd.getpwnam(user).pw_gid if user else None
    with (
        log.open("wb") as file,
        subprocess.Popen(
            list(map(str, command)), env={**os.environ, **environment}, stdout=file, stderr=file,
            user=user, group=group, extra_groups=[] if user else None,
        ) as server,
    ):  # fmt: skip
        try:
            _wait_until_up(port, server, log)
            yield server
        finally:
            server.terminate()
            server.wait(30)


def _wait_until_up(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.1)
    raise AssertionError(f"it did not start: {log.read_text(errors='replace')[-2000:]}")
