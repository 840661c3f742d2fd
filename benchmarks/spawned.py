"""The same work in several new processes that begin together."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

STARTS_WITHIN_S, ENDS_WITHIN_S = 300.0, 1800.0
Work = Callable[..., Any]


def together(count: int, work: Work, *arguments: Any) -> list[Any]:
    """What `work(number, meet, *arguments)` returns in each of `count` processes.

    `meet()` waits until all have come so far. Raises RuntimeError with the traceback of a process that failed.
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
        found = [results.get(timeout=ENDS_WITHIN_S) for _ in processes]
    finally:
        for process in processes:
            process.join(STARTS_WITHIN_S if process.exitcode is None else 0)
            process.kill()
    failed = [value for number, value in found if number is None]
    if failed:
        first = min(failed, key=lambda text: "BrokenBarrierError" in text)  # the others' is only that one did not come
        raise RuntimeError(f"a process failed:\n{first}")
    return [value for _, value in sorted(found, key=lambda pair: pair[0])]


def _run(number: int, barrier: Barrier, results: Queue[Any], work: Work, arguments: tuple[Any, ...]) -> None:
    def meet() -> None:
        barrier.wait(STARTS_WITHIN_S)

    try:
        results.put((number, work(number, meet, *arguments)))
    except BaseException:
        barrier.abort()  # else the others wait for it
        results.put((None, traceback.format_exc()))
