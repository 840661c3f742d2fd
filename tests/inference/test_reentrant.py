"""Locks that a signal handler may meet."""

import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from inference.common import reentrant
from inference.common.reentrant import interrupted, reentrant_lock

T = TypeVar("T")


def holding(work: Callable[[], T]) -> T:
    """Do `work` as a signal handler would in a call of ours that holds a lock."""
    ours: dict[str, Any] = {"__name__": "inference.some"}
    exec("def hold(lock, work):\n    with lock:\n        return work()", ours)
    found: T = ours["hold"](reentrant_lock(), work)
    return found


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_it_is_the_thread_that_holds_a_lock_which_is_interrupted() -> None:
    seen: list[bool] = []

    def look(signum: int = 0, frame: FrameType | None = None) -> None:
        seen.append(interrupted())

    before = signal.signal(signal.SIGUSR1, look)
    try:
        signal.raise_signal(signal.SIGUSR1)
        holding(lambda: signal.raise_signal(signal.SIGUSR1))
        holding(lambda: in_a_thread(look))
        with reentrant_lock():  # as a greenlet may that waits on another stack
            look()
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [False, True, False, False, False]


def test_a_lock_that_is_gone_is_forgotten() -> None:
    gc.collect()
    before = len(reentrant._locks)
    locks = [reentrant_lock() for _ in range(5)]
    assert len(reentrant._locks) == before + 5
    del locks
    assert len(reentrant._locks) == before


def test_a_child_does_not_know_the_locks_that_its_parents_threads_held() -> None:
    """A new thread of the child may have the number of one that holds a lock for ever."""
    script = """
import os, threading
from inference.common.fork import notice
from inference.common.reentrant import interrupted, reentrant_lock
ours = {"__name__": "inference.some"}
exec("def call(work): work()", ours)  # as under a signal handler there is a call of ours
lock, held, done = reentrant_lock(), threading.Event(), threading.Event()
def hold():
    with lock:
        held.set()
        done.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    seen = []
    for _ in range(3):
        thread = threading.Thread(target=ours["call"], args=(lambda: seen.append(interrupted()),))
        thread.start()
        thread.join()
    os._exit(any(seen))
done.set()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "0\n"
