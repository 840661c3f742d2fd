"""What the ledger's and the decision log's PostgreSQL connections have in common.

They work through a pooler that lends a session for one transaction: no startup options, nothing that the server keeps
from one transaction to the next, such as prepared statements; every setting is SET LOCAL.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from inference.common.places import DATABASE


def connect_arguments(url: str, what: str, wait_s: float) -> dict[str, Any]:
    """The arguments of psycopg.connect for a URL.

    Raises ValueError about `what` if the URL is invalid, ImportError where the extra is missing.
    """
    from psycopg import Error, conninfo

    try:
        parts: dict[str, Any] = conninfo.conninfo_to_dict(url)
    except Error:  # its message repeats parts of the URL
        raise ValueError(f"{what} must be {DATABASE}; the given postgresql URL is invalid") from None
    limits = {"connect_timeout": round(wait_s), "tcp_user_timeout": round(wait_s * 1000)}
    # Of a database in SQL_ASCII the driver would make bytes of every text, which are not what was written.
    return {**parts, **limits, "client_encoding": "UTF8", "prepare_threshold": None}


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
