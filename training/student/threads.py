"""How many threads torch computes with: all, or few where other programs use the processor.

Threads of one operation wait for the slowest. Beside one busy program two threads on two cores were a fifth as fast as
one of them alone (docs/LOG.md), so it is measured.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

GAIN = 1.25  # times as fast: with fewer threads the sums are rounded otherwise, so a quiet machine keeps all
TIMES = 2


@contextlib.contextmanager
def fastest(step: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Compute with the number of threads with which `step` is fast now; yields what measures it once more."""
    most = torch.get_num_threads()

    def measure() -> None:
        torch.set_num_threads(number_for(step, most))

    try:
        measure()
        yield measure
    finally:
        torch.set_num_threads(most)


def number_for(step: Callable[[], object], most: int, now: Callable[[], float] = time.perf_counter) -> int:
    """`most`, or a half of it or one where `step` is surely faster then. Leaves torch with some number of threads."""
    if most == 1 or torch.cuda.is_available():
        return most
    seconds = {threads: _best(step, threads, now) for threads in sorted({most, most // 2, 1}, reverse=True)}
    best = min(seconds, key=lambda threads: seconds[threads])
    return best if seconds[most] > GAIN * seconds[best] else most


def _best(step: Callable[[], object], threads: int, now: Callable[[], float]) -> float:
    torch.set_num_threads(threads)
    step()
    times = []
    for _ in range(TIMES):
        began = now()
        step()
        times.append(now() - began)
    return min(times)
