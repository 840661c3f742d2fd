"""How tests/fake_api.py sends, or breaks off, its responses: HTTP/1.1 with keep-alive on the loopback interface."""

from __future__ import annotations

import json
import socket
import struct
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fake_wire import ApiError

DRIBBLE_S = 0.05


@dataclass
class Bill:
    """Answers by query with their nano-dollars, and whether they were sent whole."""

    answers: list[tuple[str, int]] = field(default_factory=list)
    sent: bool = False

    def nano(self) -> int:
        return sum(nano for _, nano in self.answers)


@dataclass(frozen=True)
class Response:
    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    bill: Bill = field(default_factory=Bill)
    cached: frozenset[str] = frozenset()  # texts that the cache holds from this response's beginning on
    fault: str | None = None

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    bill: Bill | None = None  # of the last answer, while its reader may still turn out to have gone

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # a connection is reset by a client that closes it with an answer unread
            if self.bill:
                self.server.api.settle(self.bill, False)

    def serve(self) -> None:
        self.bill = None
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            response = self.server.api.respond(self.command, self.path, self.headers, raw)
        except ApiError as error:
            response = self._error(error)
        except Exception as error:
            self.server.api.failures.append(error)
            response = self._error(ApiError(500, f"{type(error).__name__}: {error}"))
        broken = {"drop": self._drop, "hang": self._hang, "dribble": self._dribble, "reset": self._reset}
        broken.get(response.fault or "", self._whole)(response, response.content())

    do_GET = do_POST = do_PUT = do_DELETE = serve

    def _error(self, error: ApiError) -> Response:
        return Response(error.body(openai=self.path.startswith("/v1/chat")), error.status, error.headers)

    def _head(self, response: Response, length: int) -> None:
        self.server.api.cache.update(response.cached)
        self.send_response(response.status)
        given = {"content-type": "application/json", "content-length": str(length), **response.headers}
        for name, value in {**given, "request-id": f"req_{uuid.uuid4().hex}"}.items():
            self.send_header(name, value)
        self.end_headers()

    def _whole(self, response: Response, content: bytes) -> None:
        """Settled before it is sent, so that whoever has read an answer finds it booked."""
        self.bill = response.bill if self.server.api.settle(response.bill, True) else None
        if self._reader_gone():
            raise ConnectionResetError
        self._head(response, len(content))
        self.wfile.write(content)
        if self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectionResetError

    def _reader_gone(self) -> bool:
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False

    def _unsent(self) -> None:
        self.close_connection = True
        self.server.api.settle(Bill(), True)

    def _drop(self, response: Response, content: bytes) -> None:
        self._unsent()

    def _hang(self, response: Response, content: bytes) -> None:
        self._unsent()
        self.server.api.closing.wait(self.server.api.hang_s)

    def _dribble(self, response: Response, content: bytes) -> None:
        self._unsent()
        end = time.monotonic() + self.server.api.hang_s
        self._head(response, len(content))
        for place in range(len(content) - 1):
            self.wfile.write(content[place : place + 1])
            if self.server.api.closing.wait(DRIBBLE_S) or time.monotonic() > end:
                return
        self.server.api.closing.wait(max(0.0, end - time.monotonic()))

    def _reset(self, response: Response, content: bytes) -> None:
        self._unsent()
        self._head(response, len(content))
        self.wfile.write(content[: len(content) // 2])
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing: what matters is counted."""


class Server(ThreadingHTTPServer):
    """Its threads are joined on closing; `live` holds the connections that must be shut down for that."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, api: Any) -> None:
        self.api = api
        self.live: set[Any] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.live.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.live.discard(request)
        super().shutdown_request(request)
