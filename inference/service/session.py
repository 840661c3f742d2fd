"""Who uses the page: a cookie that this service signed, and a token in every form that no other site can know."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Mapping

LASTS_S = 12 * 3600
PAGE, LOGIN, DOCS = "/page", "/page/login", "/docs"
STATIC = ("style.css", "script.js", "icon.svg")
UNLOCKED = (LOGIN, *(f"{PAGE}/{name}" for name in STATIC))  # what is shown to whoever has no session yet


def is_page(path: str) -> bool:
    """Whether a path belongs to the page, which a person uses in a browser."""
    return path == PAGE or path.startswith(f"{PAGE}/")


class Sessions:
    """Makes and checks cookies. Nothing is kept: whichever worker has the same `secret` knows them."""

    def __init__(self, secret: str, now: Callable[[], float] = time.time) -> None:
        self._key, self._now = secret.encode(), now
        # Two services on one machine share its cookies: each has a name of its own for them.
        self.cookie = f"monoku_{self._sign('name')[:8]}"

    def begin(self) -> str:
        """A new session."""
        session = f"{secrets.token_hex(16)}.{int(self._now()) + LASTS_S}"
        return f"{session}.{self._sign(session)}"

    def of(self, headers: Mapping[bytes, bytes]) -> str | None:
        """The session that a request's cookie names; None where it names none, or one that has ended."""
        return next((value for value in self._given(headers) if self._lasts(value)), None)

    def _given(self, headers: Mapping[bytes, bytes]) -> Iterator[str]:
        # Other programs on this host set cookies too. Python's SimpleCookie finds none at all where one of them holds
        # what it does not know, such as JSON.
        for part in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, value = part.strip().partition("=")
            if name == self.cookie:
                yield value

    def _lasts(self, value: str) -> bool:
        session, _, signed = value.rpartition(".")
        until = session.rpartition(".")[2]
        good = hmac.compare_digest(signed.encode(), self._sign(session).encode()) and until.isdecimal()
        return good and int(until) > self._now()

    def form_token(self, session: str) -> str:
        """What every form of a session must carry."""
        return self._sign(f"form {session}")

    def fits(self, session: str | None, given: str) -> bool:
        """Whether a form was made for this session."""
        return session is not None and hmac.compare_digest(given.encode(), self.form_token(session).encode())

    def set_cookie(self, session: str, https: bool) -> str:
        """The header that gives a browser the session, or ends it ("")."""
        lasts = LASTS_S if session else 0
        flags = f"Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{'; Secure' if https else ''}"
        return f"{self.cookie}={session}; {flags}"

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
