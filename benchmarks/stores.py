"""A PostgreSQL and a Redis of the benchmark's own, and what they hold and use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inference.log.decision_log import DecisionLog
from inference.log.schema import PARTS
from inference.money.ledger import Ledger
from tests.services import Service, fresh_database, postgres_server, redis_server

# Unlike the tests' server it waits for the disk, as a ledger's should; every client has a connection of its own.
OPTIONS = ("-c", "fsync=on", "-c", "max_connections=400")
LOG = tuple(name for names in PARTS.values() for name in names)
LEDGER = ("spend", "reservations", "receipts", "ledger", "carried")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stores:
    """The servers that run, and the URL of a database that is empty but for its tables."""

    postgres: Service
    redis: Service
    database: str

    def cpu_s(self) -> tuple[float, float]:
        """Seconds that PostgreSQL and Redis have computed so far."""
        return cpu_s(self.postgres), cpu_s(self.redis)

    def held(self) -> dict[str, int]:
        """Rows and bytes of log and ledger, keys and bytes of Redis, and bytes that PostgreSQL wrote ahead."""
        import psycopg
        import redis

        found: dict[str, int] = {}
        with psycopg.connect(self.database, autocommit=True) as reader:
            for store, tables in (("log", LOG), ("ledger", LEDGER)):
                rows = (f"(SELECT count(*) FROM {name})" for name in tables)
                size = (f"pg_total_relation_size('{name}')" for name in tables)
                query = f"SELECT {' + '.join(rows)}, {' + '.join(size)}"
                found[f"{store} rows"], found[f"{store} bytes"] = map(int, reader.execute(query).fetchone() or (0, 0))
            ahead = reader.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()
            found["bytes written ahead"] = int((ahead or (0,))[0])
        with redis.Redis.from_url(self.redis.url) as server:
            found["redis keys"] = int(server.dbsize())
            found["redis bytes"] = int(server.info("memory")["used_memory"])
        return found


class Servers:
    """A PostgreSQL and a Redis that start with the first cell that needs them, and end with the block."""

    def __init__(self) -> None:
        self._ending = contextlib.ExitStack()
        self._started: tuple[Service, Service] | None = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *error: object) -> None:
        self._ending.close()

    @contextlib.contextmanager
    def stores(self) -> Iterator[Stores]:
        """A database of its own, with the tables, and an empty Redis."""
        import redis

        if self._started is None:
            enter = self._ending.enter_context
            self._started = enter(postgres_server(*OPTIONS)), enter(redis_server())
        with fresh_database(self._started[0].url) as database:
            with redis.Redis.from_url(self._started[1].url) as server:
                server.flushall()
            with contextlib.closing(DecisionLog(database)) as log, contextlib.closing(Ledger(database)) as ledger:
                log.check()
                ledger.check()
            yield Stores(*self._started, database)


def cpu_s(service: Service) -> float:
    """Seconds that a server has computed, with all its processes, also those that have ended."""
    assert service.process is not None
    pid = service.process.pid
    running = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (sum(_ticks(pid)) + sum(sum(_ticks(int(child))[:2]) for child in running)) / TICKS


def _ticks(pid: int) -> list[int]:
    """Of a process: in user mode, in the kernel, and both again of its children that have ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(value) for value in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]
    return [0] * 4
