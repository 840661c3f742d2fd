"""What a service is started with. It goes to the workers by a pipe, the token too: never by a command line."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inference.cascade import Cascade

TOKEN = "MONOKU_TOKEN"
SHORTEST_TOKEN = 16
ROUNDS = 300_000  # so that a token is not found by trying what could have signed a cookie


@dataclass(frozen=True)
class Limits:
    """What a request may be: bytes of its body, texts in it, and seconds until all of it has come."""

    body_bytes: int = 1 << 20
    texts: int = 100
    slow_s: float = 10.0


@dataclass(frozen=True)
class Settings:
    """What to serve. `open` loads the cascade, in each worker, so it must be something that pickles.

    `folder` is where several workers show each other their figures; None for one worker. `bundle` is models/<name>, or
    one version's folder: the page shows its versions. `fetched`: it is a copy of what serves at a URL. `secret` signs
    the page's cookies, in all workers. `simulated`: the page says that its history is.
    """

    open: Callable[[], Cascade]
    token: str | None = field(default=None, repr=False)
    limits: Limits = Limits()
    folder: Path | None = None
    bundle: Path | None = None
    fetched: bool = False
    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    simulated: bool = False


def read_token(file: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token in `file`, else in MONOKU_TOKEN; None without either. Raises ValueError if it cannot be a token."""
    place, given = TOKEN, environment.get(TOKEN, "")
    if file is not None:
        place = file
        try:
            given = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ValueError(f"the token cannot be read from {file}: {error}") from error
    token = given.strip()
    if not token and file is None:
        return None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(
            f"the token in {place} must be at least {SHORTEST_TOKEN} printable ASCII characters without spaces; "
            "`openssl rand -hex 32` makes one"
        )
    return token


def page_secret(token: str | None) -> str:
    """What signs the page's cookies: it follows from the token, so that every replica and the next start know them."""
    if token is None:
        return secrets.token_hex(32)
    return hashlib.pbkdf2_hmac("sha256", token.encode(), b"the page of monoku", ROUNDS).hex()


def listen(host: str, port: int, token: str | None) -> socket.socket:
    """A socket bound to the address. Raises ValueError if it could be reached from elsewhere and there is no token."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, OverflowError, UnicodeError) as error:
        raise ValueError(f"the host {host!r} and port {port} are no address to listen on: {error}") from error
    if token is None and not is_loopback(str(address[0])):
        raise ValueError(
            f"to listen on {host}, where others can reach it, a service needs a token: set {TOKEN} or --token-file; "
            "without one it listens on 127.0.0.1 alone"
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(f"cannot listen on {host} port {port}: {error.strerror}; choose another --port") from error
    sock.set_inheritable(True)
    return sock


def is_loopback(host: str) -> bool:
    """Whether a numeric address, or the name localhost, is this machine's own."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
