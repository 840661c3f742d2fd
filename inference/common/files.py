"""Files that are whole or not there, whatever is killed when; and those that only their owner may read."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path


def fsync(path: Path) -> None:
    """Force a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter. One that exists stays as it is, and so do those above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def private_file(path: Path) -> None:
    """Make an empty file that only its owner may read, and the folders above it. One that exists stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # An existing file must not even be opened: to close it would end the locks that this process has on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(os.path.realpath(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def write_atomically(path: Path, content: bytes, private: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new, whatever is killed when.

    A new `private` file is for its owner alone; a file that is replaced keeps who may read it.
    """
    # Not by the process alone: its threads write at once, and containers on one volume have the same numbers.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    mode = 0o600 if private else 0o666
    try:
        with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            with contextlib.suppress(FileNotFoundError):
                draft.chmod(stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    fsync(path.parent)


def drop_lines(path: Path, unwanted: Callable[[bytes], bool]) -> int:
    """Rewrite a file without the lines that are `unwanted`, unless there are none; how many went."""
    with path.open("rb") as file:
        lines = list(file)
    kept = [line for line in lines if not unwanted(line)]
    if len(kept) < len(lines):
        write_atomically(path, b"".join(kept))
    return len(lines) - len(kept)
