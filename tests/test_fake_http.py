import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anthropic
import pytest

from tests.fake_api import FakeAPI
from tests.fake_wire import BROKEN
from tests.test_fake_api import client_of, params


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def raw_request(url: str) -> socket.socket:
    body = json.dumps(params()).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: test-key\r\ncontent-length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_charged_as_unsent(kind: str) -> None:
    with FakeAPI(faults=lambda _, attempt: None if attempt else kind, hang_s=0.3) as api, client_of(api) as client:
        with pytest.raises(anthropic.APIConnectionError):
            client.messages.create(**params())
        lost = api.charged_unsent_nano
        assert (api.charged_nano, api.answers) == (0, {})
        client.messages.create(**params())
    assert (api.charged_nano, api.charged_unsent_nano, api.answers) == (lost, lost, {"refund me": 1})


@pytest.mark.parametrize("kind", ["hang", "dribble"])
def test_what_hangs_ends_with_the_server(kind: str) -> None:
    with FakeAPI(faults=lambda *_: kind, hang_s=600) as api:
        connection = raw_request(api.url)
        eventually(lambda: api.charged_unsent_nano > 0)
    with connection:
        assert len(connection.recv(10_000)) < 1000


def test_an_answer_for_a_client_that_has_gone_is_unsent() -> None:
    gone = threading.Event()
    with FakeAPI(answer=lambda *_: str(gone.wait(30))) as api:
        raw_request(api.url).close()
        gone.set()
        eventually(lambda: api.charged_unsent_nano > 0)
    assert (api.charged_nano, api.answers) == (0, {})


def test_an_answer_left_unread_is_unsent() -> None:
    with FakeAPI() as api:
        connection = raw_request(api.url)
        select.select([connection], [], [])
        connection.close()
        eventually(lambda: api.charged_unsent_nano > 0 and not api.charged_nano)
    assert api.answers == {}


def test_what_a_plan_raises_is_raised_in_the_end() -> None:
    api, ended = FakeAPI(faults=lambda *_: "expired"), contextlib.suppress(anthropic.InternalServerError)
    with pytest.raises(ValueError, match="does not fit"), api, client_of(api) as client, ended:
        client.messages.create(**params())


CLIENT = "import sys; from tests.test_fake_http import raw_request; raw_request(sys.argv[1]).recv(1)"


def test_as_a_process_its_state_outlives_a_killed_client(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    flags = ["--state", str(state), "--fault-share", "1", "--kinds", "hang", "--hang-s", "600"]
    server = subprocess.Popen([sys.executable, "-m", "tests.fake_api", *flags], stdout=subprocess.PIPE, text=True)
    with server:
        assert server.stdout
        with subprocess.Popen([sys.executable, "-c", CLIENT, server.stdout.readline().strip()]) as client:
            eventually(lambda: json.loads(state.read_text())["charged_unsent_nano"] > 0)
            client.kill()
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    kept = json.loads(state.read_text())
    assert (kept["charged_nano"], kept["calls"], kept["answers"]) == (0, {"POST /v1/messages": 1}, {})
    assert kept["faulted"] == {"hang": 1}
