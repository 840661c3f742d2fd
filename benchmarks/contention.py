"""Calls to one spend ledger in PostgreSQL: beside old reservations, and by many clients at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.spawned import together
from benchmarks.stores import Stores
from inference.money.ledger import Ledger

CAP_USD = 1_000_000.0
Cell = dict[str, Any]


def beside_old(database: str, old: int, pairs: int) -> Cell:
    """Milliseconds of reserve and settle, median, beside so many doubtful reservations of earlier days."""
    import psycopg

    ledger, times = Ledger(database, CAP_USD), []
    ledger.check()
    with psycopg.connect(database, autocommit=True) as admin:
        admin.execute(
            f"INSERT INTO reservations SELECT 'old' || n, '2020-01-' || 10 + n % 20, 1, n, 1 "
            f"FROM generate_series(1, {int(old)}) AS n"
        )
        admin.execute("VACUUM ANALYZE reservations")
    for _ in range(pairs):
        start = time.perf_counter()
        reservation = ledger.reserve(1)
        reserved = time.perf_counter()
        ledger.settle(reservation, 1)
        times.append((reserved - start, time.perf_counter() - reserved))
    ledger.close()
    reserve, settle = np.median(times, axis=0) * 1e3
    return {"reserve ms": reserve, "settle ms": settle}


def contention(stores: Stores, rate: float, seconds: float, count: int, processes: int) -> Cell:
    """So many clients in so many processes on one ledger, at `rate` calls a second in all."""
    used = stores.cpu_s()[0]
    found = together(processes, clients, stores.database, count // processes, rate / processes, seconds)
    used = stores.cpu_s()[0] - used
    times, taken = np.array([pair for _, some in found for pair in some]), max(taken for taken, _ in found)
    (reserve50, settle50), (reserve99, settle99) = np.percentile(times, (50, 99), axis=0)
    return {
        "calls": len(times), "calls/s": len(times) / taken, "reserve p50": reserve50, "reserve p99": reserve99,
        "settle p50": settle50, "settle p99": settle99, "postgres cpu ms": used / len(times) * 1e3,
    }  # fmt: skip


def clients(
    number: int, meet: Callable[[], None], database: str, threads: int, rate: float, seconds: float
) -> tuple[float, list[Any]]:
    """One process of so many clients, each a thread: the seconds that they took, and their calls."""
    ready, found = threading.Barrier(threads, action=meet), []

    def work(seed: int) -> None:
        try:
            found.append(client(database, rate / threads, seconds, seed, ready.wait))
        except BaseException:
            ready.abort()
            raise

    started = [threading.Thread(target=work, args=(number * threads + n,)) for n in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    if len(found) < threads:
        raise RuntimeError(f"{threads - len(found)} of {threads} clients failed")
    return max(taken for taken, _ in found), [pair for _, times in found for pair in times]


def client(
    database: str, rate: float, seconds: float, seed: int, meet: Callable[[], object]
) -> tuple[float, list[tuple[float, float]]]:
    """One client's calls at moments that are drawn.

    The seconds from the first moment to the last call's end; and how late each reservation was there and how long it
    took to settle it, in milliseconds.
    """
    ledger, dice, times = Ledger(database, CAP_USD), np.random.default_rng(seed), []
    ledger.check()
    meet()
    began = due = time.perf_counter()
    while (due := due + dice.exponential(1 / rate)) < began + seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        reservation = ledger.reserve(1)
        reserved = time.perf_counter()
        ledger.settle(reservation, 1)
        times.append(((reserved - due) * 1e3, (time.perf_counter() - reserved) * 1e3))
    taken = time.perf_counter() - began
    ledger.close()
    return max(taken, seconds), times
