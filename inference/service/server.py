"""The servers: one in this process, or several workers on one socket."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors import Multiprocess

from inference.service.app import create
from inference.service.door import Door
from inference.service.logs import configure
from inference.service.settings import Settings

KEEP_ALIVE_S = 5
HUNG_S = 120  # a worker that does not answer for so long is replaced; on a busy machine one takes a minute to start
_log = logging.getLogger("monoku.service")


class Patience(Config):
    """What a server does, and for how many seconds it waits for the head of a request."""

    slow_s: float


class Patient(H11Protocol):
    """A connection that is closed when no whole head of a request came in time: uvicorn has no such limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait: asyncio.TimerHandle | None = None
        self._wait_for_next()

    def on_response_complete(self) -> None:
        """Begin to wait for the next one."""
        cycle = self.cycle
        super().on_response_complete()
        if self.cycle is cycle:  # else the next one was there already
            self._wait_for_next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        if self._wait is not None:
            self._wait.cancel()
        super().connection_lost(exc)

    def _wait_for_next(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
        slow_s = self.config.slow_s if isinstance(self.config, Patience) else KEEP_ALIVE_S
        self._wait = self.loop.call_later(slow_s, self._close_if_still, self.cycle)

    def _close_if_still(self, cycle: object) -> None:
        if self.cycle is cycle:
            self.transport.close()


def load(settings: Settings) -> Door:
    """The application in a worker, which has its own log handlers."""
    configure()
    return create(settings)


def serve(settings: Settings, sock: socket.socket, workers: int) -> None:
    """Serve on the socket until SIGTERM or SIGINT; then answer what was asked, and close the cascade.

    Raises what Cascade.load does before anything is served.
    """
    deadline_s = _tried(settings)
    configure()
    with tempfile.TemporaryDirectory(prefix="monoku-") as folder:
        if workers > 1:
            settings = replace(settings, folder=Path(folder))
        config = _config(settings, workers, deadline_s)
        host, port = sock.getsockname()[:2]
        shown = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _log.info("serving", extra={"fields": {"url": shown, "workers": workers}})
        if workers > 1:
            Multiprocess(config, sockets=[sock]).run()
        else:
            signal.signal(signal.SIGTERM, _leave)
            Server(config).run(sockets=[sock])


def _tried(settings: Settings) -> float:
    """Load the cascade once, so that whatever is wrong is one line, and not one of each worker; its deadline."""
    cascade = settings.open()
    cascade.close()
    return cascade.policy.deadline_s


def _config(settings: Settings, workers: int, deadline_s: float) -> Config:
    config = Patience(
        partial(load, settings), factory=True, interface="asgi3", lifespan="on", http=Patient, ws="none",
        loop="asyncio", workers=workers, log_config=None, access_log=False, server_header=False, proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S, timeout_worker_healthcheck=HUNG_S,
        timeout_graceful_shutdown=math.ceil(deadline_s + settings.limits.slow_s),
    )  # fmt: skip
    config.slow_s = settings.limits.slow_s
    return config


def _leave(number: int, frame: FrameType | None) -> None:
    # uvicorn raises the signal again once it has shut down: the end that it asked for is no failure.
    sys.exit(0)
