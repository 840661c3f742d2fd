"""Redis within a time limit: every call ends in time, however the server behaves, and a server that is down is skipped.

redis-py's timeouts are per operation on a socket, so that a server which sends a byte now and then outlasts them. And
connecting can take long: names are looked up, TLS is agreed on. Here a thread in the background opens connections, and
the calls use what is open, each with a deadline over all that it sends and receives.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from inference.common.errors import MonokuError
from inference.common.fork import ProcessLocal, notice, register
from inference.common.logs import Condition
from inference.common.places import REDIS, redis
from inference.common.reentrant import reentrant_lock
from inference.common.workers import Worker

MOST_CONNECTIONS = 16
CONNECT_S = 1.0  # for opening a connection
SLOW_CALLS = 3  # in a row: a server that is slow once is busy for a moment, and not down

_REFUSALS = {
    "WRONGTYPE": "wrong", "MovedError": "cluster", "MOVED": "cluster", "AskError": "cluster",
    "ReadOnlyError": "replica", "READONLY": "replica",
}  # fmt: skip


class NoReply(MonokuError):
    """Redis did not do what it was asked to.

    `reason`: skipped (it is down, or no connection is free), slow, gone, full, wrong (a key of another type), cluster,
    replica, refused.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RedisLink(ProcessLocal):
    """A few connections to one Redis, shared by threads, made anew after a fork.

    After a call that did not work, or three that were slow in a row, all calls are skipped, until a thread that tries
    every `retry_after_s` seconds has connected and had an answer within `timeout_s`. Neither a cluster nor a replica is
    used. Raises ValueError if the URL is not a valid Redis URL or the extra is missing.
    """

    def __init__(self, url: str, timeout_s: float, retry_after_s: float) -> None:
        self._timeout_s, self._retry_after_s = timeout_s, retry_after_s
        self._kind, self._arguments, self._errors = parse(url)
        self._closed = False
        self._out_of_reach = Condition("cache", "Redis can be reached again")
        self.worker = Worker("monoku-redis", self._open)
        self.after_fork()
        register(self)
        self._open_another()

    def after_fork(self) -> None:
        """Start with nothing: a child must not talk on its parent's connections."""
        self._lock = reentrant_lock()
        self._idle: list[Any] = []
        self._connections = 0
        self._opening = False
        self._down = False
        self._slow = 0  # calls in a row
        self._tried, self._trouble, self._misfit = threading.Event(), "", False

    def check(self) -> tuple[str, bool]:
        """What is wrong with the server, "" if nothing is; and whether it would be the wrong one for good.

        Waits for the first attempt to connect.
        """
        self._tried.wait(2 * CONNECT_S + self._timeout_s)
        return self._trouble, self._misfit

    @property
    def up(self) -> bool:
        """Whether there is a connection, and the last call worked."""
        notice()
        return self._connections > 0 and not self._down

    def ask(self, *command: str | int) -> Any:
        """Redis's reply, in `timeout_s` at most. Raises NoReply if there is none."""
        notice()
        connection = self._borrow()
        trouble = "gone"  # unless we learn otherwise
        try:
            reply = connection.call(self._timeout_s, *command)
            trouble = ""
        except self._errors.ResponseError as error:  # a reply all the same, and read to its end
            refusal = self._refusal(error)
            trouble = "gone" if refusal in ("cluster", "replica") else ""  # the thread finds out what it is
            raise NoReply(refusal) from None
        except Exception as error:  # the library lets through more than its own errors when a server talks nonsense
            trouble = "slow" if isinstance(error, (TimeoutError, self._errors.TimeoutError)) else "gone"
            raise NoReply(trouble) from None
        finally:
            self._give_back(connection, trouble)
        return reply

    def close(self) -> None:
        """Let go of Redis: every later call is skipped."""
        notice()
        self._closed = True
        self.worker.stop(0)
        self._drop_idle()

    def _refusal(self, error: Exception) -> str:
        if isinstance(error, self._errors.OutOfMemoryError):
            return "full"
        words = f"{type(error).__name__} {error}"  # the library cuts the first word off where it knows it
        return next((reason for word, reason in _REFUSALS.items() if word in words), "refused")

    def _borrow(self) -> Any:
        if not (self._down or self._closed):
            try:
                return self._idle.pop()
            except IndexError:
                pass
        if not (self._opening and self.worker.running):
            self._open_another(self._retry_after_s if self._down else 0.0)
        raise NoReply("skipped")

    def _give_back(self, connection: Any, trouble: str) -> None:
        self._slow = self._slow + 1 if trouble == "slow" else 0
        if trouble and not 0 < self._slow < SLOW_CALLS:
            self._down = True
            self._drop_idle()
        if trouble or self._down or self._closed:
            self._drop(connection)  # the reply may come yet
        else:
            self._idle.append(connection)
        if trouble:
            # A server that was restarted may be back already; one that stays slow would only be slow again.
            self._open_another(self._retry_after_s if self._slow >= SLOW_CALLS else 0.0)

    def _drop(self, connection: Any) -> None:
        with self._lock:
            self._connections -= 1
        connection.disconnect()

    def _drop_idle(self) -> None:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread took it
                return
            self._drop(connection)

    def _open_another(self, delay_s: float = 0.0) -> None:
        with self._lock:
            if (self._opening and self.worker.running) or self._closed or self._connections >= MOST_CONNECTIONS:
                return
            self._opening, self._open_at = True, time.monotonic() + delay_s
            self.worker.wake()
            self._opening = self.worker.start()

    def _open(self) -> float | None:
        """Open one more connection, when it is time; the seconds until the next attempt, None once there is one."""
        left_s = self._open_at - time.monotonic()
        if left_s > 0:
            return left_s
        connection = self._kind(**self._arguments)
        self._trouble, self._misfit = self._connect(connection)
        self._tried.set()
        if self._trouble:
            connection.disconnect()
            self._down = self._down or self._connections == 0  # one more may be too many for the server
            if self._down:
                about = "unfit" if self._misfit else None
                text = "Redis %s: answers are cached in memory alone"
                self._out_of_reach.begin(text, self._trouble, about=about)
            return self._retry_after_s
        with self._lock:
            self._connections += 1
            self._opening = self._down = False
            self._slow = 0
            self._idle.append(connection)
        self._out_of_reach.end()
        if self._closed:
            self._drop_idle()
        return None

    def _connect(self, connection: Any) -> tuple[str, bool]:
        """Connect; what is wrong with the server, "" if nothing is, and whether it is the wrong one for good."""
        patient_s = max(CONNECT_S, self._timeout_s)
        try:
            connection.connect()
            took_s = min(_time_of(connection, patient_s, self._timeout_s))
            if took_s > self._timeout_s:
                allowed = f"the {self._timeout_s * 1000:g} ms that redis_timeout_ms allows"
                return f"takes {took_s * 1000:.3g} ms for an answer, more than {allowed}", False
            try:
                said = connection.call(patient_s, "INFO")
            except self._errors.ResponseError:  # this user may not ask
                return "", False
        except Exception as error:  # out of reach, not to be logged in to, talking nonsense
            return f"is out of reach ({type(error).__name__})", False
        info = said.decode(errors="replace") if isinstance(said, bytes) else ""
        if "cluster_enabled:1" in info:
            return "is a node of a Redis Cluster, which is not supported: name a single server", True
        if "role:slave" in info:
            return "is a read-only replica: name the primary server", True
        return "", False


def _time_of(connection: Any, patient_s: float, limit_s: float) -> Iterator[float]:
    """Seconds that a ping takes: of up to three, where the first are slow."""
    for _ in range(3):
        began = time.monotonic()
        connection.call(patient_s, "PING")
        took_s = time.monotonic() - began
        yield took_s
        if took_s <= limit_s:
            return


class _Timed:
    """Mixed into a redis-py connection: a limit on the time that a call takes in all."""

    def _connect(self) -> Any:
        self._timed = _TimedSocket(super()._connect())  # type: ignore[misc]
        return self._timed

    def call(self, timeout_s: float, *command: str | int) -> Any:
        self._timed.until = time.monotonic() + timeout_s
        self.send_command(*command)  # type: ignore[attr-defined]
        return self.read_response()  # type: ignore[attr-defined]


class _TimedSocket:
    """A socket whose operations, however many, end at `until`."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.until = time.monotonic() + CONNECT_S

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        self._set_timeout()
        return bytes(self._socket.recv(size))

    def recv_into(self, buffer: Any) -> int:
        self._set_timeout()
        return int(self._socket.recv_into(buffer))

    def sendall(self, data: bytes) -> None:
        self._set_timeout()
        self._socket.sendall(data)

    def _set_timeout(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def parse(url: str) -> tuple[Any, dict[str, Any], Any]:
    """The class of connection that a URL asks for, its arguments, and the module of the library's errors."""
    place = redis(url)
    try:
        from redis import connection, exceptions
    except ImportError as error:
        raise ValueError('a cache in Redis needs pip install "monoku[redis]"') from error
    try:
        arguments = connection.parse_url(place.url)  # type: ignore[no-untyped-call]
        arguments.update(socket_timeout=CONNECT_S, socket_connect_timeout=CONNECT_S, health_check_interval=0)
        arguments.update(retry_on_timeout=False, retry_on_error=[])
        base = arguments.pop("connection_class", connection.Connection)
        kind = type("TimedConnection", (_Timed, base), {})
        kind(**arguments)  # opens nothing, but knows its arguments
    except (ValueError, TypeError, AttributeError, exceptions.RedisError):
        raise ValueError(f"the cache in Redis must be {REDIS}; the given one is invalid") from None
    return kind, arguments, exceptions
