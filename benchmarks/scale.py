"""Several serving processes on one PostgreSQL and one Redis: requests a second, what they store, where it saturates.

    python -m benchmarks.scale [--bundle models/support] [--data data/support] [--out FILE] [--quick]

PostgreSQL and Redis run on this machine beside the processes and share its cores; there is no network between them.
Three parts, each cell of which is kept in `--out`, so that a stopped run goes on:

- Serving, by 1, 2 and 4 processes: a cascade each, with log and ledger in PostgreSQL and the cache in Redis, takes one
  request after the other. The stream is that of benchmarks.replay over the test texts of `--data`: Zipf, 40 % unseen.
  The teacher knows the labels and answers at once, at $0.0005 a call, so that a deferred request waits for log and
  ledger alone. Rows, bytes, and the seconds that the servers computed are divided by the number of requests.
- A call to the ledger (reserve and settle) with old doubtful reservations in the table.
- 100 clients on one ledger, each with its own connection, call at moments drawn by chance: 20 calls a second in all,
  then more, until the 99th percentile of `reserve` passes 50 ms. A call's time counts from the moment that it was due.

At the end: what that says of 100 machines like this one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.cells import Cells
from benchmarks.contention import CAP_USD, beside_old, contention
from benchmarks.spawned import together
from benchmarks.stores import Servers, Stores
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.money.ledger import Ledger
from inference.serving.policy import Policy
from inference.teachers.own import FunctionTeacher

CALL_USD = 0.0005
BAR_MS, GIVEN_RATE = 50.0, 20
MACHINES = (1, 10, 100)
Cell = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """How much of it."""

    processes: tuple[int, ...] = (1, 2, 4)
    requests: int = 4_000  # of each process
    warm_up: int = 200
    clients: int = 100
    client_processes: int = 4
    rates: tuple[int, ...] = (GIVEN_RATE, 50, 100, 200, 400, 800, 1600)
    seconds: float = 10.0  # at each rate, three times as long at the first
    old: tuple[int, ...] = (0, 20_000, 100_000)
    pairs: int = 500


QUICK = Size((1, 2), 150, 20, 8, 2, (GIVEN_RATE, 100), 1.0, (0, 2_000), 50)


def serve(
    number: int, meet: Callable[[], object], bundle: str, policy: Policy, gold: Mapping[str, str],
    shares: Sequence[Sequence[str]], warm_up: int,
) -> Cell:  # fmt: skip
    """One process: answer a share of the texts; when it began and ended, and each answer's milliseconds."""
    classifier, texts = Classifier.load(bundle), shares[number]
    known = {classifier.redact(text): label for text, label in gold.items()}
    teacher = FunctionTeacher(
        lambda text: known.get(text, classifier.labels[0]), classifier.bundle.taxonomy, usd=CALL_USD
    )
    with Cascade.load(bundle, teacher, policy=policy) as cascade:
        for text in texts[:warm_up]:
            cascade.classify(text)
        meet()
        began, used = time.time(), time.process_time()
        answers = [cascade.classify(text) for text in texts[warm_up:]]
        ended, used = time.time(), time.process_time() - used
        redis = cascade.stats()["redis"]
    return {
        "began": began, "ended": ended, "used_s": used, "ms": [answer.latency_ms for answer in answers],
        "cached": sum(answer.cached for answer in answers), "redis": redis,
    }  # fmt: skip


def serving(servers: Stores, bundle: str, gold: Mapping[str, str], processes: int, size: Size) -> Cell:
    """The figures of some processes on fresh stores."""
    from benchmarks.replay import make_stream

    stream = make_stream(gold, processes * (size.requests + size.warm_up))
    shares = [[request.text for request in stream[number::processes]] for number in range(processes)]
    labels = {request.text: request.gold for request in stream}
    with tempfile.TemporaryDirectory() as spill, contextlib.closing(Ledger(servers.database)) as ledger:
        policy = Policy(
            log=servers.database, ledger=servers.database, redis=servers.redis.url, spill=spill, daily_usd=CAP_USD
        )
        before, used = servers.held(), servers.cpu_s()
        found = together(processes, serve, bundle, policy, labels, shares, size.warm_up)
        after, used_then = servers.held(), servers.cpu_s()
        spent = ledger.spent().measured / 1e9
    ms = [value for one in found for value in one["ms"]]
    taken = max(one["ended"] for one in found) - min(one["began"] for one in found)
    p50, p95, p99 = np.percentile(ms, (50, 95, 99))
    return {
        "requests/s": len(ms) / taken, "p50 ms": p50, "p95 ms": p95, "p99 ms": p99,
        "calls": spent / CALL_USD / len(stream), "cached": sum(one["cached"] for one in found) / len(ms),
        "own cpu ms": sum(one["used_s"] for one in found) / len(ms) * 1e3,
        "postgres cpu ms": (used_then[0] - used[0]) / len(stream) * 1e3,
        "redis cpu ms": (used_then[1] - used[1]) / len(stream) * 1e3,
        "redis": {name: sum(one["redis"].get(name, 0) for one in found) for name in ("hits", "misses", "slow")},
        **{name: (after[name] - before[name]) / len(stream) for name in after},
    }  # fmt: skip


def show_serving(processes: int, cell: Cell) -> None:
    print(
        f"{processes:>9}{cell['requests/s']:>12.0f}{cell['p50 ms']:>9.2f}{cell['p95 ms']:>9.2f}{cell['p99 ms']:>9.1f}"
        f"{cell['calls']:>9.1%}{cell['cached']:>9.1%}{cell['own cpu ms']:>10.2f}{cell['postgres cpu ms']:>10.2f}"
        f"{cell['redis cpu ms']:>8.3f}",
        flush=True,
    )


def show_contention(rate: int, cell: Cell) -> None:
    print(
        f"{rate:>9}{cell['calls/s']:>12.1f}{cell['reserve p50']:>9.1f}{cell['reserve p99']:>9.1f}"
        f"{cell['settle p50']:>9.1f}{cell['settle p99']:>9.1f}{cell['postgres cpu ms']:>10.2f}",
        flush=True,
    )


def show_stored(cell: Cell) -> None:
    """What a million requests a day store."""
    print("\na million requests a day, at these shares of calls and hits:")
    for name in ("log", "ledger"):
        print(f"{name:<8}{cell[f'{name} rows']:>7.2f} million rows, {cell[f'{name} bytes'] / 1e3:.2f} GB")
    print(f"{'redis':<8}{cell['redis keys']:>7.2f} million keys, {cell['redis bytes'] / 1e3:.2f} GB")
    print(f"PostgreSQL writes {cell['bytes written ahead'] / 1e3:.2f} GB ahead (WAL)")


def show_plan(cell: Cell, holds: float) -> None:
    """What machines of as many cores would ask of one PostgreSQL and one Redis elsewhere, each busy all the time.

    `holds`: calls a second that the ledger takes. A machine whose cores do nothing but serve takes one request in
    `own cpu ms` on each.
    """
    core = 1e3 / cell["own cpu ms"]
    rate = core * (os.cpu_count() or 1)
    print(f"\n{core:.0f} requests/s per core that does nothing else; the ledger takes {holds:.0f} calls/s")
    print(f"{'machines':>9}{'requests/s':>12}{'ledger':>10}{'PG cores':>10}{'Redis':>8}{'log GB/day':>12}")
    for machines in MACHINES:
        requests = rate * machines
        print(
            f"{machines:>9}{requests:>12.0f}{requests * cell['calls'] / holds:>10.0%}"
            f"{requests * cell['postgres cpu ms'] / 1e3:>10.1f}{requests * cell['redis cpu ms'] / 1e3:>8.0%}"
            f"{requests * 86_400 * cell['log bytes'] / 1e9:>12.0f}"
        )
    full: dict[str, float] = {
        "the ledger (one call at a time)": holds / (rate * cell["calls"]) if cell["calls"] else float("inf"),
        "Redis (one core)": 1e3 / (rate * cell["redis cpu ms"]) if cell["redis cpu ms"] else float("inf"),
    }
    for name, at in sorted(full.items(), key=lambda item: item[1]):
        print(f"{name} is full at {at:.1f} machines, {at * rate:,.0f} requests/s")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="models/support")
    parser.add_argument("--data", default="data/support", help="labelled texts: those of its test split are asked")
    parser.add_argument("--out", type=Path, default=Path("models/scale.jsonl"), help="finished cells")
    parser.add_argument("--quick", action="store_true", help="small cells, to see that it runs: no figures to quote")
    arguments = parser.parse_args(argv)
    # Here, as the spawned processes import this file too, and libraries for training take them seconds.
    from training.data.dataset import load
    from training.evaluation.report import machine

    size, kept = QUICK if arguments.quick else Size(), Cells(arguments.out)
    rows = load(arguments.data, Classifier.load(arguments.bundle).redact, remember=False).split("test")
    print(f"{machine()}; PostgreSQL (fsync on) and Redis on the same cores\n")
    with Servers() as servers:
        served = serve_all(servers, arguments.bundle, {row.text: row.label for row in rows}, size, kept)
        beside_all(servers, size, kept)
        holds = contend_all(servers, size, kept)
    show_stored(served)
    show_plan(served, holds)


def serve_all(servers: Servers, bundle: str, gold: Mapping[str, str], size: Size, kept: Cells) -> Cell:
    """Print the cells of serving; the last one's figures."""
    print(
        f"{'processes':>9}{'requests/s':>12}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'calls':>9}{'cached':>9}"
        f"{'own cpu':>10}{'PG cpu':>10}{'Redis':>8}"
    )
    cell: Cell = {}

    def work(processes: int) -> Cell:
        with servers.stores() as found:
            return serving(found, bundle, gold, processes, size)

    for processes in size.processes:
        settings = {"part": "serving", "processes": processes, "requests": size.requests, "bundle": Path(bundle).name}
        cell = kept.run(settings, partial(work, processes))
        show_serving(processes, cell)
    return cell


def beside_all(servers: Servers, size: Size, kept: Cells) -> None:
    """Print the cells of a call beside old reservations."""
    print(f"\n{'doubtful':>9}{'reserve ms':>12}{'settle ms':>12}  (p50)")

    def work(old: int) -> Cell:
        with servers.stores() as found:
            return beside_old(found.database, old, size.pairs)

    for old in size.old:
        cell = kept.run({"part": "old", "old": old, "pairs": size.pairs}, partial(work, old))
        print(f"{old:>9}{cell['reserve ms']:>12.2f}{cell['settle ms']:>12.2f}", flush=True)


def contend_all(servers: Servers, size: Size, kept: Cells) -> float:
    """Print the cells of contention up to where the ledger saturates; the calls a second that it holds."""
    print(f"\n{size.clients} clients on one ledger, each with its own connection; milliseconds")
    print(f"{'due/s':>9}{'calls/s':>12}{'reserve':>9}{'p99':>9}{'settle':>9}{'p99':>9}{'PG cpu':>10}")

    def work(rate: int, seconds: float) -> Cell:
        with servers.stores() as found:
            return contention(found, rate, seconds, size.clients, size.client_processes)

    holds = 0
    for rate in size.rates:
        seconds = size.seconds * (3 if rate == GIVEN_RATE else 1)
        settings = {"part": "contention", "rate": rate, "clients": size.clients, "seconds": seconds}
        cell = kept.run(settings, partial(work, rate, seconds))
        show_contention(rate, cell)
        if rate == GIVEN_RATE:
            good = "met" if cell["reserve p99"] <= BAR_MS else "missed"
            print(f"          p99 of reserve at {rate} calls/s, at most {BAR_MS:.0f} ms: {good}")
        if cell["reserve p99"] > BAR_MS:
            print(f"saturated between {holds} and {rate} calls/s: p99 of reserve passes {BAR_MS:.0f} ms")
            return holds or float(cell["calls/s"])
        holds = rate
    print(f"not saturated at {holds} calls/s")
    return holds


if __name__ == "__main__":
    main()
