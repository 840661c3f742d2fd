from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from inference.cache import link as redis_link
from inference.cache.link import NoReply, RedisLink
from tests.services import Service, redis_server

PATIENT_S = 5.0  # a busy machine must not look like a slow server
GENEROUS_S = 30.0  # what nobody waits for if the code is right


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with redis_server() as service:
        yield service


@contextlib.contextmanager
def linked(url: str, timeout_s: float = PATIENT_S, retry_after_s: float = 0.05) -> Iterator[RedisLink]:
    link = RedisLink(url, timeout_s, retry_after_s)
    try:
        until(lambda: link.up)
        yield link
    finally:
        link.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GENEROUS_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def reason(link: RedisLink, *command: str | int) -> str:
    with pytest.raises(NoReply) as caught:
        link.ask(*command)
    return caught.value.reason


def test_a_reply_comes_back(server: Service) -> None:
    with linked(server.url) as link:
        assert link.ask("SET", "k", "v", "PX", 60_000)
        assert link.ask("GETRANGE", "k", 0, 10) == b"v"
        assert link.ask("GETRANGE", "absent", 0, 10) == b""


@pytest.mark.parametrize("query", ["", "?protocol=2", "?protocol=3", "?retry_on_timeout=yes&health_check_interval=1"])
def test_the_url_chooses_database_and_protocol(server: Service, query: str) -> None:
    with linked(f"redis://127.0.0.1:{server.port}/3{query}") as link:
        link.ask("SET", "here", "1")
        assert link.ask("GETRANGE", "here", 0, 1) == b"1"
    with linked(server.url) as link:
        assert link.ask("GETRANGE", "here", 0, 1) == b""


@pytest.mark.parametrize("url", ["", "http://host", "redis://host:port", "redis://:secret@host?colour=red"])
def test_an_invalid_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="must be redis://") as caught:
        RedisLink(url, 1, 1)
    assert "secret" not in str(caught.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(ValueError, match=r"monoku\[redis\]"):
        RedisLink("redis://127.0.0.1", 1, 1)


def test_a_killed_server_is_skipped_and_found_again_though_nobody_asks() -> None:
    with redis_server() as service, linked(service.url) as link:
        service.stop(signal.SIGKILL)
        assert reason(link, "GETRANGE", "k", 0, 1) == "gone"
        assert not link.up
        assert reason(link, "GETRANGE", "k", 0, 1) == "skipped"
        service.start()
        until(lambda: link.up)
        assert link.ask("GETRANGE", "k", 0, 1) == b""


def test_a_server_that_is_not_there_yet_is_found_when_it_comes() -> None:
    with redis_server() as service:
        service.stop(signal.SIGKILL)
        link = RedisLink(service.url, PATIENT_S, 0.05)
        try:
            assert reason(link, "PING") == "skipped"
            service.start()
            until(lambda: link.up)
        finally:
            link.close()


def test_a_frozen_server_costs_one_deadline_and_is_found_again_though_nobody_asks() -> None:
    with redis_server() as service, linked(service.url, timeout_s=0.2) as link:
        with service.frozen():
            assert reason(link, "GETRANGE", "k", 0, 1) == "slow"
            started = time.monotonic()
            assert {reason(link, "PING") for _ in range(1000)} == {"skipped"}
            assert time.monotonic() - started < GENEROUS_S  # a thousand deadlines would be 200 s
        until(lambda: link.up)


def test_a_call_that_is_slow_once_takes_the_server_out_for_no_time() -> None:
    slow = [True]

    def answer(line: socket.socket) -> None:
        if slow.pop():
            line.recv(1)  # nothing comes: until the caller gives up
            slow.append(False)
        else:
            slow.append(False)
            line.sendall(b"$1\r\n1\r\n")

    with fake(answer) as url, linked(url, timeout_s=0.2, retry_after_s=600) as link:
        assert reason(link, "GETRANGE", "k", 0, 1) == "slow"
        until(lambda: link.up)
        assert link.ask("GETRANGE", "k", 0, 1) == b"1"


def test_three_slow_calls_in_a_row_take_the_server_out() -> None:
    with fake(lambda line: line.recv(1) and None) as url, linked(url, timeout_s=0.2, retry_after_s=600) as link:
        for _ in range(2):
            until(lambda: link.up)
            assert reason(link, "GETRANGE", "k", 0, 1) == "slow"
        until(lambda: link.up)
        assert reason(link, "GETRANGE", "k", 0, 1) == "slow"
        assert not link.up
        assert reason(link, "GETRANGE", "k", 0, 1) == "skipped"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--cluster-enabled", "yes"), "is a node of a Redis Cluster, which is not supported: name a single server"),
        (("--replicaof", "127.0.0.1", "1"), "is a read-only replica: name the primary server"),
    ],
)
def test_a_server_that_is_the_wrong_one_is_named_and_not_used(
    options: tuple[str, ...], expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(*options) as service, contextlib.closing(RedisLink(service.url, PATIENT_S, 0.01)) as link:
        assert link.check() == (expected, True)
        assert reason(link, "PING") == "skipped"
        until(lambda: f"Redis {expected}" in caplog.text)
        until(lambda: link.worker.state()["running"])
        assert caplog.text.count(f"Redis {expected}") == 1


def test_a_replica_that_becomes_the_primary_is_used() -> None:
    with (
        redis_server("--replicaof", "127.0.0.1", "1") as service,
        contextlib.closing(RedisLink(service.url, PATIENT_S, 0.01)) as link,
    ):
        assert link.check()[1]
        with redis.Redis(port=service.port) as admin:
            admin.execute_command("REPLICAOF", "NO", "ONE")
        until(lambda: link.up)
        assert link.ask("SET", "k", "v")


def test_a_server_that_is_too_slow_for_the_limit_is_told_with_the_setting() -> None:
    with redis_server() as service, contextlib.closing(RedisLink(service.url, 1e-7, 600)) as link:
        trouble, for_good = link.check()
        assert re.fullmatch(
            r"takes [\d.]+ ms for an answer, more than the 0.0001 ms that redis_timeout_ms allows", trouble
        )
        assert not for_good


def test_a_server_that_is_not_there_is_told() -> None:
    with redis_server() as service:
        service.stop(signal.SIGKILL)
        with contextlib.closing(RedisLink(service.url, PATIENT_S, 600)) as link:
            assert link.check() == ("is out of reach (ConnectionError)", False)


def test_a_busy_server_is_slow() -> None:
    with (
        redis_server("--enable-debug-command", "yes") as service,
        linked(service.url) as other,
        linked(service.url, timeout_s=0.05) as link,
    ):
        sleeper = threading.Thread(target=other.ask, args=("DEBUG", "SLEEP", "1"))
        sleeper.start()
        until(lambda: _is_slow(link))
        sleeper.join()
        until(lambda: link.up)


def _is_slow(link: RedisLink) -> bool:
    try:
        return link.ask("PING") is None
    except NoReply as error:
        return error.reason == "slow"


def test_a_reply_that_is_an_error_leaves_the_connection_in_use(server: Service) -> None:
    with linked(server.url) as link:
        link.ask("RPUSH", "list", "1")
        assert reason(link, "GETRANGE", "list", 0, 1) == "wrong"
        assert reason(link, "NONSENSE") == "refused"
        assert link.up
        assert link.ask("GETRANGE", "k0", 0, 1) == b""


def test_a_full_server_refuses_writes_and_goes_on_reading() -> None:
    with redis_server("--maxmemory", "1", "--maxmemory-policy", "noeviction") as service, linked(service.url) as link:
        assert reason(link, "SET", "k", "v") == "full"
        assert link.ask("GETRANGE", "k", 0, 1) == b""


def test_a_password_that_is_wrong_is_a_server_that_is_down() -> None:
    with redis_server("--requirepass", "right") as service:
        link = RedisLink(service.url.replace("//", "//:wrong@"), PATIENT_S, 0.05)
        try:
            until(lambda: link._down)
            assert reason(link, "PING") == "skipped"
        finally:
            link.close()
        with linked(service.url.replace("//", "//:right@")) as good:
            assert good.ask("GETRANGE", "k", 0, 1) == b""


def test_one_connection_too_many_for_the_server_does_no_harm() -> None:
    with redis_server("--maxclients", "1") as service, linked(service.url) as link:
        held = link._borrow()
        assert reason(link, "PING") == "skipped"  # and a second one is tried for
        until(lambda: b"rejected_connections:0\r\n" not in held.call(PATIENT_S, "INFO", "stats"))
        assert link.up
        link._give_back(held, "")
        assert link.ask("GETRANGE", "k", 0, 1) == b""


def greet(line: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Greet as Redis does, and answer GETRANGE in another way."""
    with line, contextlib.suppress(OSError):
        while received := line.recv(65_536):
            if b"GETRANGE" in received:
                return answer(line)
            for command in received.split(b"*")[1:]:
                line.sendall(b"+PONG\r\n" if b"PING" in command else b"+OK\r\n")


@contextlib.contextmanager
def fake(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=greet, args=(listener.accept()[0], answer), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0?protocol=2"
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def dribble(line: socket.socket) -> None:
    line.sendall(b"$100000\r\n")
    for _ in range(20_000):  # 200 s
        line.sendall(b"x")
        time.sleep(0.01)


def dribble_a_line(line: socket.socket) -> None:
    for _ in range(20_000):
        line.sendall(b"+")
        time.sleep(0.01)


@pytest.mark.parametrize("answer", [dribble, dribble_a_line])
def test_a_server_that_dribbles_is_given_up_at_the_deadline(answer: Callable[[socket.socket], None]) -> None:
    with fake(answer) as url, linked(url, timeout_s=0.2, retry_after_s=60) as link:
        started = time.monotonic()
        assert reason(link, "GETRANGE", "k", 0, 1) == "slow"
        assert time.monotonic() - started < GENEROUS_S


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (b"", "gone"),
        (b"hello\r\n", "gone"),
        (b"*1\r\n" * 5000, "gone"),
        (b"$x\r\n", "gone"),
        (b"-LOADING\r\n", "gone"),
        (b"-MOVED 1 127.0.0.1:1\r\n", "cluster"),
        (b"-READONLY You can't write against a read only replica.\r\n", "replica"),
        (b"-\xff\r\n", "refused"),
    ],
)
def test_nonsense_is_no_reply(said: bytes, expected: str) -> None:
    with fake(lambda line: line.sendall(said)) as url, linked(url) as link:
        assert reason(link, "GETRANGE", "k", 0, 1) == expected


def test_threads_never_get_each_others_replies_not_even_after_deadlines(server: Service) -> None:
    with linked(server.url) as link:
        for number in range(8):
            link.ask("SET", f"n{number}", str(number))
    results: list[tuple[int, bytes]] = []
    troubles: list[str] = []

    def work(link: RedisLink, number: int) -> None:
        for _ in range(300):
            try:
                results.append((number, link.ask("GETRANGE", f"n{number}", 0, 5)))
            except NoReply as error:
                troubles.append(error.reason)

    for timeout_s in (PATIENT_S, 0.0002):  # the second is missed again and again
        with linked(server.url, timeout_s, retry_after_s=0.001) as link:
            threads = [threading.Thread(target=work, args=(link, number)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert link._connections <= redis_link.MOST_CONNECTIONS
    assert results
    assert all(reply == str(number).encode() for number, reply in results)
    assert set(troubles) <= {"skipped", "slow"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: Service) -> None:
    with linked(server.url) as link:
        link.ask("SET", "forked", "1")
        stop = threading.Event()

        def keep_busy() -> None:
            while not stop.is_set():
                with contextlib.suppress(NoReply):
                    link.ask("GETRANGE", "forked", 0, 1)

        busy = threading.Thread(target=keep_busy)
        busy.start()
        try:
            for _ in range(3):
                child = os.fork()
                if child == 0:
                    os._exit(_child(link))
                assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            busy.join()
        until(lambda: link.up)
        assert link.ask("GETRANGE", "forked", 0, 1) == b"1"


def _child(link: RedisLink) -> int:
    try:
        with contextlib.suppress(NoReply):
            link.ask("PING")
        until(lambda: link.up)
        return 0 if link.ask("GETRANGE", "forked", 0, 1) == b"1" else 1
    except BaseException:  # it must not run on in the test of its parent
        return 1


def test_closed_is_closed(server: Service) -> None:
    with linked(server.url) as link:
        link.ask("PING")
    assert reason(link, "PING") == "skipped"
    assert link._connections == 0


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(1)])
def test_an_unexpected_error_while_connecting_is_over_by_itself(
    error: BaseException, server: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with linked(server.url) as link:
        until(lambda: link.up)
        right, errors = link._kind, [error] * 2

        def wrong(**arguments: object) -> object:
            if errors:
                raise errors.pop()
            return right(**arguments)

        monkeypatch.setattr(link, "_kind", wrong)
        with link._lock:
            link._idle.clear()
            link._connections = 0
        assert reason(link, "PING") == "skipped"
        until(lambda: link.up)
        assert link.worker.state()["failures"] == 2
        assert link.ask("PING") == b"PONG"


def test_without_a_thread_redis_is_skipped_and_found_once_there_is_one(
    server: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        link = RedisLink(server.url, PATIENT_S, 0.05)
        assert reason(link, "PING") == "skipped"
        assert link.worker.state()["last_error"]
    assert reason(link, "PING") == "skipped"
    until(lambda: link.up)
    link.close()
