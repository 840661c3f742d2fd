"""PgBouncer in transaction mode, which gives each transaction another session of the server."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.log import DecisionLog
from inference.money.ledger import Ledger
from tests.logged import answer, decision
from tests.services import postgres_server
from tests.soak.running import free_port, program, running

pytestmark = pytest.mark.soak
CLIENTS, TURNS = 6, 30

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture(scope="module")
def pooler() -> Iterator[str]:
    bouncer = program("pgbouncer", "Debian: apt-get install pgbouncer")
    folder, port = Path(tempfile.mkdtemp(prefix="monoku-pgbouncer-")), free_port()
    try:
        with postgres_server() as server:
            (folder / "users.txt").write_text('"monoku" ""\n')
            (folder / "settings.ini").write_text(SETTINGS.format(server=server.port, port=port, folder=folder))
            folder.chmod(0o755)
            user = server.user if os.geteuid() == 0 else None  # it refuses to run as root
            with running([bouncer, folder / "settings.ini"], port, folder / "log", user):
                yield f"postgresql://monoku@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_six_clients_reserve_and_settle_and_none_fails(pooler: str) -> None:
    def spend(_: int) -> None:
        with contextlib.closing(Ledger(pooler, 1.0)) as ledger:
            for _ in range(TURNS):
                ledger.settle(ledger.reserve(1000), 900)

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(spend, range(CLIENTS)))
    with contextlib.closing(Ledger(pooler)) as ledger:
        assert (ledger.spent().measured, ledger.spent().reserved) == (CLIENTS * TURNS * 900, 0)


def test_six_clients_log_and_nothing_is_spilled(pooler: str, tmp_path: Path) -> None:
    def write(client: int) -> dict[str, object]:
        with contextlib.closing(DecisionLog(pooler, spill=tmp_path / str(client))) as log:
            for turn in range(TURNS):
                log.put(decision(f"{client}-{turn}", number=0.5, rate=0.6))
                log.keep(answer(f"{client}-{turn}")).result(60)
            return log.stats()

    with ThreadPoolExecutor(CLIENTS) as clients:
        stats = list(clients.map(write, range(CLIENTS)))
    assert [(found["spilled"], found["error"]) for found in stats] == [(0, None)] * CLIENTS
    names = {f"{client}-{turn}" for client in range(CLIENTS) for turn in range(TURNS)}
    log = DecisionLog(pooler)
    assert {row.id for row in log.read_decisions()} == names
    assert {row.request_id for row in log.read_answers()} == names
    assert log.purge(0) == 2 * len(names)
