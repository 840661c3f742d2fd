"""Locks that a signal handler may meet: it may call whatever its own thread is in the middle of."""

from __future__ import annotations

import sys
import threading
import weakref
from types import FrameType
from typing import Any

_locks: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def reentrant_lock() -> threading.RLock:
    """A lock that its thread may take again, and that `interrupted` knows of."""
    lock = threading.RLock()
    _locks[id(lock)] = lock
    return lock


def forget_inherited() -> None:
    """In a forked child: forget its parent's locks, of which a thread that the child does not have may hold one.

    A new thread may have that one's number, and would seem to hold it. Whatever is used in the child makes new locks.
    """
    _locks.clear()


def interrupted() -> bool:
    """Whether this is in a signal handler that came while its thread, in a call of ours, holds one of these locks.

    Then it must wait for no other thread: that one may need the lock, which is free again only after the handler.
    """
    held = (found() for found in _locks.valuerefs())
    # What threading.Condition asks of a lock; it has no public name.
    return any(lock is not None and lock._is_owned() for lock in held) and _entered_twice()


def _entered_twice() -> bool:
    """Whether a call of ours is under this one on the stack, which a greenlet has of its own, unlike its thread."""
    frame: FrameType | None = sys._getframe(1)
    left = False
    while frame is not None:
        ours = str(frame.f_globals.get("__name__")).startswith("inference.")
        if ours and left:
            return True
        left = left or not ours
        frame = frame.f_back
    return False
