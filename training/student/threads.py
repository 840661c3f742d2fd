"""How torch computes fastest here, which is measured: with how many threads, and whether in bf16.

Threads of one operation wait for the slowest: beside one busy program two threads on two cores were a fifth as fast as
one of them alone. A processor that has bf16 may be slower with it, where only its tiles (AMX) are fast (docs/LOG.md).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import torch

GAIN = 1.25  # times as fast: sums are rounded otherwise then, so in doubt it is all threads, and fp32
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


def bf16_is_faster(step: Callable[[], object], now: Callable[[], float] = time.perf_counter) -> bool:
    """Whether to train in bf16: on a GPU that has it, and on a processor where `step` is surely faster with it."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    features: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch lack it
    if not (features.get("avx512_bf16") or features.get("amx_bf16")):
        return False
    threads = torch.get_num_threads()
    plain = _best(step, threads, now)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return plain > GAIN * _best(step, threads, now)


def _best(step: Callable[[], object], threads: int, now: Callable[[], float]) -> float:
    torch.set_num_threads(threads)
    step()
    times = []
    for _ in range(TIMES):
        began = now()
        step()
        times.append(now() - began)
    return min(times)
