"""Children for tests of what a fork leaves behind."""

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

# A C library's fork runs none of Python's hooks. PyDLL keeps the interpreter's lock, so that no other thread has it.
FORKS = [pytest.param(getattr(os, "fork", None), id="os.fork"), pytest.param(ctypes.PyDLL(None).fork, id="C fork")]
c_fork = ctypes.PyDLL(None).fork
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def holds_in_child(fork: Callable[[], int], check: Callable[[], object], within_s: int = 60) -> bool:
    """Whether `check` returns something true in a forked child, in time."""
    child = fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(within_s)
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
