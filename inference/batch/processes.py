"""The engine of one machine: a process per core, each with a classifier of its own."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from inference.batch.parts import Run, classified, finished, keep
from inference.batch.records import Record
from inference.classifier import Classifier

AHEAD = 2  # parts per process that wait, so that none is idle


def classify(run: Run, done: Callable[[int], object], workers: int) -> int:
    """Write every part of a run that is not finished; how many parts there are then.

    `done` is told of rows as they are finished. Raises ChildProcessError if a worker process dies.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy whatever threads there are
    count, waiting = 0, set[Future[int]]()
    try:
        with ProcessPoolExecutor(workers, context, _end_with_parent) as pool:
            for count, rows in run.parts():
                if finished(run.home, count).is_file():
                    done(len(rows))
                    continue
                waiting.add(pool.submit(_write, run.bundle, run.target, run.home, count, rows))
                if len(waiting) >= AHEAD * workers:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    _tell(ready, done)
            _tell(waiting, done)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, perhaps for its memory: run the same command again to go on"
        ) from error
    return count


def _tell(ready: Iterable[Future[int]], done: Callable[[int], object]) -> None:
    for future in ready:
        done(future.result())


def _end_with_parent() -> None:
    """Let a worker process end when the process that started it does, however it ends."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


@functools.cache  # opened for the first part and not as a process begins: an error is told as what it is
def _classifier(bundle: str, target: float) -> Classifier:
    return Classifier.load(bundle, target)


def _write(bundle: str, target: float, home: Path, number: int, rows: Sequence[Record]) -> int:
    keep(home, number, classified(_classifier(bundle, target), rows))
    return len(rows)
