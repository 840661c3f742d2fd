"""How long the decision log waits, and how much it does at once."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one log, in seconds and in rows.

    A write waits `locked_s` for another's lock; a server that answers nothing for `hung_s` is given up. After a failure
    the next attempt comes `first_pause_s` later, and after each further one in twice the time, up to `longest_pause_s`.
    """

    locked_s: float = 2.0
    hung_s: float = 5.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    purged_at_once: int = 5000


USUAL = Limits()


@contextlib.contextmanager
def cut_after(seconds: float, descriptor: int) -> Iterator[None]:
    """Cut the connection of a socket if what is done meanwhile takes longer: the driver itself has no limit."""
    with socket.socket(fileno=os.dup(descriptor)) as line:
        timer = threading.Timer(seconds, _cut, [line])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
