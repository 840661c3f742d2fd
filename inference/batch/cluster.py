"""The engine of many machines: a Ray cluster, whose actors each hold a classifier (extra `ray`).

One task reads the files, on the machine where the command runs, and cuts them as the engine of one machine does. Ray
Data hands the parts to the actors. What they make comes back and is written by the command's own process alone, so a
part that is made again, because its worker was killed, is there once; and the workers need the bundle, but no files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import secrets
import socket
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any

from inference.batch.parts import Part, Run, classified, keep, made, rows_of
from inference.batch.records import Record, safe
from inference.classifier import Classifier
from inference.common.cores import cores
from inference.common.errors import MonokuError
from inference.common.extras import library

TOLD = (MonokuError, ValueError, OSError)  # what a command tells in one line
REACHED_S = 5.0  # what a cluster's address may take to answer


def classify(run: Run, done: Callable[[int], object], address: str | None, workers: int | None) -> int:
    """Write every part of a run that is not finished; how many parts there are then.

    `address` is a cluster's, None for one of this machine alone, with as many workers as it shall have. `done` is told
    of rows as they are finished. Raises ValueError if the cluster has no room for the workers, MonokuError if it
    cannot be reached or a worker cannot open the bundle.
    """
    there = made(run.home)
    done(sum(there.values()))
    numbers = [0, *there]
    with _cluster(address, workers) as (ray, size):
        for number, part in _parts(ray, run, size, frozenset(there)):
            keep(run.home, number, part)
            done(rows_of(part.counts))
            numbers.append(number)
    return max(numbers)


@contextlib.contextmanager
def _cluster(address: str | None, workers: int | None) -> Iterator[tuple[Any, int]]:
    """A connection to a cluster, and the number of workers there."""
    ray = _quiet()
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray writes one to the home folder
            ray.init("local", num_cpus=workers or cores(), include_dashboard=False, **quiet)
        else:
            _reach(address)
            ray.init(address, **quiet)
    except Exception as error:  # Ray's own are of any type, plain Exception too
        raise MonokuError(f"no Ray cluster can be reached at {address or 'this machine'}: {error}") from error
    try:
        yield ray, _room(ray, workers)
    finally:
        ray.shutdown()


def _quiet() -> Any:
    """Ray, which tells its makers nothing of this run, and prints no more than what went wrong."""
    for name, value in {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}.items():
        os.environ.setdefault(name, value)
    ray = library("ray", "ray")
    library("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    return ray


def _reach(address: str) -> None:
    """Ray itself tries for a minute, and says of what. Raises ValueError or OSError if nothing is there."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in address:
        raise ValueError("expected HOST:PORT or auto, on a machine of the cluster")
    socket.create_connection((host.strip("[]"), int(port)), REACHED_S).close()


def _room(ray: Any, workers: int | None) -> int:
    found = int(ray.cluster_resources().get("CPU", 0))
    if found < (workers or 1):
        raise ValueError(f"--workers {workers or 1} need a CPU each, and the Ray cluster has {found}")
    return workers or found


def _parts(ray: Any, run: Run, workers: int, there: Container[int]) -> Iterator[tuple[int, Part]]:
    """The parts that are not `there`, as they are made."""
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # a block per part: Ray would make one of many, for one worker
    context.enable_progress_bars = context.print_on_execution_start = False
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    whole = ray.data.from_items([0])
    cut = whole.map_batches(_read, fn_args=(run, there), num_cpus=0, label_selector=here)
    model = (run.bundle, run.bundle_id, run.target)
    actors = ray.data.ActorPoolStrategy(size=workers)
    form = {"batch_size": 1, "batch_format": "pyarrow"}
    found = cut.map_batches(_Worker, fn_constructor_args=model, compute=actors, num_cpus=1, **form)
    try:
        for row in found.iter_rows():
            part = pickle.loads(row["made"])
            if isinstance(part, Exception):
                raise part
            yield row["number"], part
    except ray.exceptions.RayError as error:
        raise MonokuError(f"Ray gave up ({error}); run the same command again to go on") from error


def _read(_: Any, run: Run, there: Container[int]) -> Iterator[Any]:
    """In a task: every part that is not `there`, said from outside as a second try must yield the same parts."""
    number = 0
    try:
        for number, rows in run.parts():
            if number not in there:
                yield _row(number, rows)
    except TOLD as error:
        yield _row(number + 1, error)


class _Worker:
    """In an actor: the classifier, and the parts that it is given one after the other."""

    def __init__(self, bundle: str, bundle_id: str, target: float) -> None:
        self.error: MonokuError | None = None  # told with the first part: of an actor without one Ray says that it died
        try:
            self.classifier = Classifier.load(bundle, target)
            if (found := self.classifier.bundle.manifest.bundle_id) != bundle_id:
                raise ValueError(f"its id is {found}, expected {bundle_id}")
        except TOLD as error:
            what = f"a worker on {socket.gethostname()} cannot use the bundle {safe(bundle)}: {error}"
            self.error = MonokuError(f"{what}; give a path that is the same on every machine of the cluster, or a URL")

    def __call__(self, given: Any) -> Any:
        (row,) = given.to_pylist()
        return _row(row["number"], self._made(pickle.loads(row["made"])))

    def _made(self, rows: Sequence[Record] | Exception) -> Part | Exception:
        if isinstance(rows, Exception):
            return rows
        try:
            return self.error or classified(self.classifier, rows)
        except TOLD as error:
            return error


def _row(number: int, made: Sequence[Record] | Part | Exception) -> Any:
    """A part on its way. An exception goes as one does: what is raised comes out of Ray in other words."""
    return library("pyarrow", "bulk").table({"number": [number], "made": [pickle.dumps(made)]})
