"""One process at a time: a file lock that the system releases when its process ends, however it ends."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.common.errors import MonokuError

if TYPE_CHECKING:
    from filelock import AcquireReturnProxy


class Busy(MonokuError):
    """Another process holds the lock. The message says what it is doing."""


def take_lock(path: Path, doing: str) -> AcquireReturnProxy[Any]:
    """Hold the lock at `path` for a `with` block, or until what is returned has its `lock.release()` called.

    Raises Busy(`doing`) where another process has it. Needs the extra `train`.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Whoever holds the lock may give it back in another thread.
        return FileLock(path, thread_local=False).acquire(timeout=0)
    except Timeout as error:
        raise Busy(doing) from error
