"""A Redis cluster of three, and a Redis that is 10 ms away."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from tests.logged import wait_until
from tests.services import Service, redis_server

pytestmark = pytest.mark.soak
TAXONOMY = Taxonomy.of(["payments", "account"])
SLOTS = 16_384


def load(home: Path, url: str, **settings: object) -> Cascade:
    rates = {"sample_rate": 0.0, "day_zero_rate": 0.0}
    return Cascade.load(home, lambda text: "payments", taxonomy=TAXONOMY, redis=url, **rates, **settings)


@pytest.fixture
def cluster() -> Iterator[list[Service]]:
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(redis_server("--cluster-enabled", "yes")) for _ in range(3)]
        links = [stack.enter_context(redis.Redis(port=node.port)) for node in nodes]
        for number, link in enumerate(links):
            link.execute_command("CLUSTER ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
            link.execute_command("CLUSTER MEET", "127.0.0.1", nodes[0].port, nodes[0].command[-1])
        wait_until(lambda: all(_is_ok(link) for link in links))
        yield nodes


def _is_ok(link: "redis.Redis") -> bool:
    return bool(link.execute_command("CLUSTER INFO")["cluster_state"] == "ok")


def test_a_cluster_is_named_at_load_and_serving_goes_on_without_it(cluster: list[Service], tmp_path: Path) -> None:
    for node in cluster:
        with pytest.raises(ValueError, match="Redis is a node of a Redis Cluster, which is not supported"):
            load(tmp_path / "model", node.url)
    with load(tmp_path / "model", cluster[0].url, stores="warn") as cascade:
        assert {cascade.classify(f"question {number}").source for number in range(50)} == {"teacher"}
        assert cascade.classify("question 1").cached
        assert cascade.stats()["redis"]["up"] == 0


@contextlib.contextmanager
def away(port: int, delay_s: float) -> Iterator[str]:
    """A way to a server on which every message takes its time."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(delay_s / 2)
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", port))
                lines.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    lines: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve)
        accepting.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for line in lines:
        line.close()


def test_a_redis_that_is_ten_milliseconds_away_needs_the_setting_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server() as server, away(server.port, 0.010) as url:
        with load(tmp_path / "one", url) as cascade:
            assert "more than the 5 ms that redis_timeout_ms allows" in caplog.text
            assert cascade.classify("hello").source == "teacher"
        with load(tmp_path / "one", url, redis_timeout_ms=500.0) as one:
            for number in range(40):
                assert one.classify(f"question {number}").source == "teacher"
            assert one.stats()["redis"].get("skipped", 0) == 0
        with load(tmp_path / "two", url, redis_timeout_ms=500.0) as two:
            assert all(two.classify(f"question {number}").cached for number in range(40))
