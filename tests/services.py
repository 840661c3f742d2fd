"""A real redis-server and a real PostgreSQL for tests: started here, or taken from the environment.

MONOKU_TEST_REDIS and MONOKU_TEST_POSTGRES name servers that run already. Where neither these nor the programs are to be
had the tests fail, unless MONOKU_TEST_WITHOUT_SERVICES=1 lets them be skipped.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGES = ("redis-server", "postgresql")
STARTS_WITHIN_S = 60
USERS = ("postgres", "nobody")


class Service:
    """A server of our own on 127.0.0.1, to be stopped, killed, frozen and started again."""

    def __init__(self, command: list[str], port: int, url: str, ready: Callable[[], bool], user: str | None) -> None:
        self.command = command
        self.port = port
        self.url = url
        self.ready = ready
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            user=self.user,
            group=pwd.getpwnam(self.user).pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"{self.command[0]} does not start: {' '.join(self.command)}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: for PostgreSQL SIGINT ends its clients too, SIGKILL is a crash."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(STARTS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server and its children accept connections and answer nothing."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        frozen = [self.process.pid, *map(int, children)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in frozen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[Service]:
    """A redis-server of our own that keeps nothing on disk; `options` as on its command line."""
    program = _find("redis-server")
    port = _free_port()
    if "--cluster-enabled" in options:  # else it wants the port 10,000 above its own, which there may not be
        options += ("--cluster-port", str(_free_port()))
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        service = Service([*command, *options], port, f"redis://127.0.0.1:{port}/0", lambda: _answers(port), None)
        service.start()
        try:
            yield service
        finally:
            service.stop(signal.SIGKILL)


@contextlib.contextmanager
def postgres_server(*options: str) -> Iterator[Service]:
    """A PostgreSQL of our own, under an unprivileged user where this process is root; `options` as on its command
    line."""
    initdb, postgres, psql = (_find(name) for name in ("initdb", "postgres", "pg_isready"))
    user = next((name for name in USERS if _known(name)), None) if os.geteuid() == 0 else None
    port = _free_port()
    folder = Path(tempfile.mkdtemp(prefix="monoku-postgres-"))
    try:
        if user:
            shutil.chown(folder, user, pwd.getpwnam(user).pw_gid)
        data = str(folder / "data")
        make = [initdb, "--pgdata", data, "--username", "monoku", "--auth", "trust", "--encoding", "UTF8", "--no-sync"]
        group = pwd.getpwnam(user).pw_gid if user else None
        made = subprocess.run(make, user=user, group=group, cwd="/", capture_output=True, text=True)
        if made.returncode:
            pytest.fail(f"initdb failed: {made.stderr}")
        command = [postgres, "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F", *options]
        url = f"postgresql://monoku@127.0.0.1:{port}/postgres"
        ready = [psql, "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        service = Service(command, port, url, lambda: subprocess.run(ready).returncode == 0, user)
        service.start()
        try:
            yield service
        finally:
            service.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis_url() -> Iterator[str]:
    """A Redis to share with others: MONOKU_TEST_REDIS, or one of our own."""
    if given := os.environ.get("MONOKU_TEST_REDIS"):
        yield given
        return
    with redis_server() as service:
        yield service.url


@contextlib.contextmanager
def postgres_url() -> Iterator[str]:
    """A PostgreSQL to share with others: MONOKU_TEST_POSTGRES, or one of our own."""
    if given := os.environ.get("MONOKU_TEST_POSTGRES"):
        yield given
        return
    with postgres_server() as service:
        yield service.url


@contextlib.contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """An empty database of its own on the server at `url`."""
    import psycopg

    name = f"monoku_{uuid.uuid4().hex[:12]}"
    server, _, query = url.partition("?")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        try:
            yield f"{server.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@functools.cache
def _install() -> None:
    """Ask Debian for what is missing, once, where we may."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", *PACKAGES]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(command, env=environment, capture_output=True, timeout=300)


def _find(program: str) -> str:
    """The program's path. Fails the test where it cannot be had."""
    found = _search(program)
    if found is None:
        _install()
        found = _search(program)
    if found is None:
        reason = f"no {program} (Debian: apt-get install {' '.join(PACKAGES)}), and no URL in MONOKU_TEST_*"
        if os.environ.get("MONOKU_TEST_WITHOUT_SERVICES") == "1":
            pytest.skip(reason)
        pytest.fail(f"{reason}; MONOKU_TEST_WITHOUT_SERVICES=1 skips what needs it")
    return found


def _search(program: str) -> str | None:
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    with contextlib.suppress(OSError):
        folders.insert(0, subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip())
    return shutil.which(program, path=os.pathsep.join(filter(None, [os.environ.get("PATH", ""), *folders])))


def _known(user: str) -> bool:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_uid != 0
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    """Whether a Redis answers a ping."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as line:
        line.sendall(b"PING\r\n")
        return line.recv(7).startswith((b"+PONG", b"-NOAUTH"))
    return False
