"""Children for tests of what a fork leaves behind."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

import pytest


def c_fork() -> int:
    """A C library's fork, which runs none of Python's hooks.

    PyDLL keeps the interpreter's lock, so that no other thread has it. Nor may one ask for it at that moment: the child
    would wait in CPython itself for a thread that it does not have. With a long switch interval none does.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(100.0)
    time.sleep(0.05)  # whoever waited with the usual interval has had the lock
    try:
        return int(ctypes.PyDLL(None).fork())
    finally:
        sys.setswitchinterval(usual)


FORKS = [pytest.param(getattr(os, "fork", None), id="os.fork"), pytest.param(c_fork, id="C fork")]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def holds_in_child(fork: Callable[[], int], check: Callable[[], object], within_s: int = 30) -> bool:
    """Whether `check` returns something true in a forked child, in time.

    A child of a C library's fork gets a second try: CPython itself may hang it (see c_fork), which is no fault of ours.
    """
    found = _status_of_child(fork, check, within_s)
    if fork is c_fork and os.WIFSIGNALED(found) and os.WTERMSIG(found) == signal.SIGALRM:
        found = _status_of_child(fork, check, within_s)
    return found == 0


def _status_of_child(fork: Callable[[], int], check: Callable[[], object], within_s: int) -> int:
    child = fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(within_s)
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1]
