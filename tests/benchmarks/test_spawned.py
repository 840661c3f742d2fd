import os
import signal
import time
from collections.abc import Callable

import pytest

from benchmarks.spawned import together


def come(number: int, meet: Callable[[], None], pause_s: float) -> tuple[int, float, float]:
    time.sleep(number * pause_s)
    came = time.time()
    meet()
    return number, came, time.time()


def fail(number: int, meet: Callable[[], None]) -> None:
    if number == 1:
        raise ValueError("no such thing")
    meet()


def killed(number: int, meet: Callable[[], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_is_not_waited_for() -> None:
    with pytest.raises(RuntimeError, match="ended before their work was done"):
        together(1, killed)


def test_processes_begin_together_and_their_results_are_in_order() -> None:
    found = together(2, come, 0.3)
    assert [number for number, _, _ in found] == [0, 1]
    assert min(began for _, _, began in found) >= max(came for _, came, _ in found)


def test_the_failure_of_a_process_is_told_and_the_others_do_not_wait() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        together(2, fail)
