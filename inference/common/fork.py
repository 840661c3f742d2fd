"""What belongs to one process: it begins anew in a forked child, it is closed at exit, and no copy of it is made.

Python's own fork hooks run for os.fork alone. The child of another fork (uWSGI's, a C library's) finds out at its next
call: every public method begins with `notice`.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import itertools
import logging
import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from inference.common.reentrant import forget_inherited, reentrant_lock

_log = logging.getLogger("monoku.fork")
_WIPE_ON_FORK = 18  # MADV_WIPEONFORK of Linux, for which Python has no name


class ProcessLocal:
    """The base of what has locks, threads or connections. `register` it at the end of `__init__`.

    A signal handler may call whatever its thread is in the middle of. So locks are re-entrant, and what one guards
    bears another call between any two lines: at worst that one is not counted.
    """

    def before_fork(self) -> None:
        """Close what must not be open in a child, and keep it closed until `after_fork_in_parent`."""

    def after_fork_in_parent(self) -> None:
        """Undo `before_fork`."""

    def after_fork(self) -> None:
        """Begin anew in a child. `before_fork` may not have run, so another thread may have been anywhere.

        No inherited lock is waited for; nothing that the parent has open is closed or destroyed (see Hold).
        """
        self._lock = reentrant_lock()

    def at_exit(self) -> None:
        """Write what waits."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        name = type(self).__name__
        raise TypeError(f"a {name} cannot be pickled or copied: it belongs to one process; load it in the worker")


class Hold:
    """Keeps `thing` alive until this object goes in the process that made it: a forked child never destroys it.

    For what has threads, which a child would wait for, and for connections, which a child would close for its parent.
    A reference in a list would not do, since lists are torn down at exit.
    """

    def __init__(self, thing: object) -> None:
        weakref.finalize(self, _let_go, keep(thing), os.getpid()).atexit = False


def keep(thing: object) -> ctypes.py_object[Any]:
    """Keep `thing` alive until this process ends."""
    held = ctypes.py_object(thing)
    ctypes.pythonapi.Py_IncRef(held)
    return held


def _let_go(held: ctypes.py_object[Any], process: int) -> None:
    if os.getpid() == process:
        ctypes.pythonapi.Py_DecRef(held)


class _ProcessId:
    """Stands in for the marked page where the system cannot wipe one on fork."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def __getitem__(self, _: int) -> int:
        return self._process == os.getpid()

    def __setitem__(self, _: int, value: int) -> None:
        self._process = os.getpid()


def _mark(wipe: bool = sys.platform == "linux") -> mmap.mmap | _ProcessId:
    """Something whose item 0 is true in this process and false in its forked children, until they set it."""
    if not wipe:
        return _ProcessId()
    try:
        # Reading a byte of memory takes a tenth of the time of asking the system for the process id.
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_WIPE_ON_FORK)
    except OSError:
        return _ProcessId()
    page[0] = 1
    return page


def _uwsgi() -> Any:
    try:
        return importlib.import_module("uwsgi")  # the program brings it: no package of that name can be installed
    except ImportError:
        return None


_mine = _mark()
_server = _uwsgi()
_things: dict[int, weakref.ref[ProcessLocal]] = {}
_numbers = itertools.count()
_forking = threading.Lock()
_prepared: list[ProcessLocal] = []
_beginning: dict[int, threading.Lock] = {}


def register(thing: ProcessLocal) -> None:
    """Have the hooks of `thing` called, for as long as it lives."""
    number = next(_numbers)
    _things[number] = weakref.ref(thing, lambda _: _things.pop(number, None))


def forks_later() -> bool:
    """Whether this is uWSGI's master, which will fork its workers at any moment, without Python's hooks.

    Whatever a thread holds then, SQLite's locks or the interpreter's own, is held in the worker for ever: no thread of
    ours may be at work when a public method returns.
    """
    return _server is not None and _server.worker_id() == 0


def notice() -> None:
    """Begin anew if this process was forked since the last call. Costs about a function call."""
    if not _mine[0]:
        _begin_anew()


def attempt(work: Callable[[], object]) -> None:
    """Do `work`; log what goes wrong, so that the next piece of work is done too."""
    try:
        work()
    except Exception:
        _log.exception("%s failed", getattr(work, "__qualname__", work))


def _alive() -> list[ProcessLocal]:
    return [thing for thing in [found() for found in list(_things.values())] if thing is not None]


def _begin_anew() -> None:
    global _forking
    # By process id, so that it is never one that a thread of the parent held.
    with _beginning.setdefault(os.getpid(), threading.Lock()):
        if _mine[0]:
            return
        forget_inherited()
        for thing in _alive():
            attempt(thing.after_fork)
        _forking = threading.Lock()
        _prepared.clear()
        _mine[0] = 1


def _before_fork() -> None:
    notice()
    _forking.acquire()  # of two threads that fork at once, each releases what it prepared itself
    for thing in _alive():
        attempt(thing.before_fork)
        _prepared.append(thing)


def _in_parent() -> None:
    while _prepared:
        attempt(_prepared.pop().after_fork_in_parent)
    _forking.release()


@atexit.register
def _at_exit() -> None:
    notice()
    for thing in reversed(_alive()):  # what uses another was made after it
        attempt(thing.at_exit)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=notice)
