"""The same work in several new processes that begin together."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

STARTS_WITHIN_S, LOOKS_EVERY_S = 300.0, 1.0
Work = Callable[..., Any]


def together(count: int, work: Work, *arguments: Any) -> list[Any]:
    """What `work(number, meet, *arguments)` returns in each of `count` processes.

    `meet()` waits until all have come so far. Raises RuntimeError with the traceback of a process that failed, or
    that one was killed.
    """
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    processes = [
        context.Process(target=_run, args=(number, barrier, results, work, arguments), daemon=True)
        for number in range(count)
    ]
    try:
        for process in processes:
            process.start()
        found = list(_results(processes, results))
    except BaseException:
        for process in processes:
            process.kill()
        raise
    for process in processes:
        process.join()
    failed = [value for number, value in found if number is None]
    if failed:
        first = min(failed, key=lambda text: "BrokenBarrierError" in text)  # the others' is only that one did not come
        raise RuntimeError(f"a process failed:\n{first}")
    return [value for _, value in sorted(found, key=lambda pair: pair[0] or 0)]


def _results(processes: list[SpawnProcess], results: Queue[Any]) -> Iterator[tuple[int | None, Any]]:
    """What each process sends. Raises RuntimeError where one ended without."""
    missing = len(processes)
    while missing:
        ended = [process.pid for process in processes if process.exitcode]
        try:
            yield results.get(timeout=LOOKS_EVERY_S)
            missing -= 1
        except queue.Empty:
            if ended:
                raise RuntimeError(f"processes ended before their work was done: {ended}") from None


def _run(number: int, barrier: Barrier, results: Queue[Any], work: Work, arguments: tuple[Any, ...]) -> None:
    def meet() -> None:
        barrier.wait(STARTS_WITHIN_S)

    try:
        results.put((number, work(number, meet, *arguments)))
    except BaseException:
        barrier.abort()  # else the others wait for it
        results.put((None, traceback.format_exc()))
