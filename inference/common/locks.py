"""One process at a time: a file lock that the system releases when its process ends, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from inference.common.errors import MonokuError


class Busy(MonokuError):
    """Another process holds the lock. The message says what it is doing."""


def take_lock(path: Path, doing: str) -> IO[str]:
    """Hold the lock at `path` until the returned file is closed. Raises Busy(`doing`) if another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise Busy(doing) from error
    return file
