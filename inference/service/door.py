"""The door: what every request passes before the application sees it.

It gives the request its id, asks for the token, limits body and patience, writes the access log, and turns whatever
goes wrong into JSON.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from inference.common.errors import MonokuError
from inference.service.logs import place
from inference.service.session import DOCS, LOGIN, UNLOCKED, Sessions, is_page
from inference.service.settings import Limits, is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/healthz", "/readyz")  # for probes, which have no token
FORM, JSON = b"application/x-www-form-urlencoded", b"application/json"
FAILED = "failed", "the service failed; its log has this request_id"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_access, _log = logging.getLogger("monoku.access"), logging.getLogger("monoku.service")


class Refusal(MonokuError):
    """A request that is not answered: the status, one word, and a sentence."""

    def __init__(self, status: int, error: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status, self.error, self.message, self.headers = status, error, message, headers


class Gone(MonokuError):
    """The client has left."""


class Door:
    """The ASGI application in front of `app`. With a `token`, all but the probes need it, or for the page a session."""

    def __init__(self, app: App, token: str | None, limits: Limits, paths: frozenset[str], sessions: Sessions) -> None:
        self._app, self._limits, self._paths, self._sessions = app, limits, paths, sessions
        self._token = None if token is None else f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        visit = Visit(headers, send)
        scope.setdefault("state", {})["request_id"] = visit.id
        try:
            self._check(scope, headers)
            body = await self._read(headers, receive)
            await self._app(scope, _replay(body, receive), visit.send)
        except Refusal as refusal:
            await visit.refuse(refusal)
        except Gone:
            visit.status = 499
        except Exception as error:
            fields = {"request_id": visit.id, "exception": type(error).__name__, "at": place(error.__traceback__)}
            _log.error("a request failed", extra={"fields": fields})
            await visit.refuse(Refusal(500, *FAILED))
        finally:
            self._tell(scope, visit)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        path, of_page = scope["path"], is_page(scope["path"])
        if self._token is None:
            self._check_host(headers)
        elif of_page:
            if path not in UNLOCKED and self._sessions.of(headers) is None:
                raise Refusal(303, "no_session", "the page needs the token first", (b"location", LOGIN.encode()))
        elif path not in OPEN and not (path == DOCS and self._sessions.of(headers)):
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            if not hmac.compare_digest(scheme.lower() + b" " + given.strip(), self._token):
                raise Refusal(
                    401, "no_token", "give the service's token: Authorization: Bearer TOKEN",
                    (b"www-authenticate", b"Bearer"),
                )  # fmt: skip
        media = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if of_page and scope["method"] == "POST":
            # A form is what a page elsewhere can have a browser send: the session's token, which it must have, is
            # checked where the form is read.
            if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
                raise Refusal(403, "other_site", "a form of the page is sent from the page alone")
            if media != FORM:
                raise Refusal(415, "not_a_form", f"send a form, with Content-Type: {FORM.decode()}")
        elif scope["method"] == "POST" and media != JSON:
            # What a page elsewhere can have a browser send without asking is of another type.
            raise Refusal(415, "not_json", "send JSON, with Content-Type: application/json")

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        """Without a token, only this machine's own names are served: a page elsewhere may have its name lead here."""
        host = re.sub(r":\d+$", "", headers.get(b"host", b"localhost").decode("latin-1")).strip("[]")
        if not is_loopback(host):
            raise Refusal(
                403, "other_host", "without a token this service is for 127.0.0.1 and localhost: start it with a token"
            )

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        most = self._limits.body_bytes
        too_large = Refusal(413, "too_large", f"the body must have at most {most:,} bytes: send fewer texts at once")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > most:
            raise too_large
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.slow_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    chunks.append(message.get("body", b""))
                    size += len(chunks[-1])
                    if size > most:
                        raise too_large
                    more = message.get("more_body", False)
        except TimeoutError:
            late = f"the body did not come within {self._limits.slow_s:g} seconds"
            raise Refusal(408, "too_slow", late, (b"connection", b"close")) from None
        return b"".join(chunks)

    def _tell(self, scope: Scope, visit: Visit) -> None:
        # A path that is none of ours, or a query, may hold anything.
        path = scope["path"] if scope["path"] in self._paths else "other"
        fields = {
            "request_id": visit.id, "method": scope["method"] if len(scope["method"]) <= 7 else "other",
            "path": path, "status": visit.status, "ms": round((time.perf_counter() - visit.started) * 1000, 2),
        }  # fmt: skip
        _access.info("request", extra={"fields": fields})


class Visit:
    """One request and its reply, with its id in the headers."""

    def __init__(self, headers: dict[bytes, bytes], send: Send) -> None:
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        self.started, self.status, self._send = time.perf_counter(), 0, send

    async def send(self, message: Message) -> None:
        """Pass on what the application replies."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", []), (b"x-request-id", self.id.encode()), (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]  # fmt: skip
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Reply with a refusal, unless a reply has begun."""
        if self.status:
            return
        body = json.dumps({"error": refusal.error, "message": refusal.message, "request_id": self.id}).encode()
        kind, length = (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())
        headers = [kind, length, *refusal.headers]
        await self.send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
