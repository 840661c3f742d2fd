"""The splits that were made once, kept in a file beside the data: a row never changes its split in silence."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.common.files import write_atomically
from training.data.looks import LOOKS_FILE, BaseLooks

SPLITS_FILE = "splits.json"
FIRST_SALT = "monoku"  # not the folder's name, as before: what comes of data must not depend on what they are called
# The rule of files that say none: they were written before shares followed the number of rows.
OLD_SHARES = (0.55, 0.10, 0.25, 0.10)
OLD_HALVED = (0.0, 0.5, 0.5, 0.0)  # a val file that comes without a calibration file
OLD_HELD_OUT = {"dev": 0.05, "calibration": 0.10, "test": 0.10}  # of a train file, for each split that has no file


@dataclass(frozen=True)
class Kept:
    """What the file says: the salt, each query's split by its key, and the rule by which new rows are divided.

    `shares` are those of train, dev, calibration and test by the split of the file that a row came in; None is the rule
    of an older version. `reserved` are the keys of train rows that could not have come into another split; None where
    an older version did not write them down.
    """

    salt: str
    splits: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, tuple[float, ...]] | None = field(default_factory=dict)
    reserved: frozenset[str] | None = frozenset()


def splits_home(data: Path, fallback: Path | None) -> Path | None:
    """The folder that holds the splits: the data's own, else `fallback`."""
    folder = data if data.is_dir() else data.parent if data.is_file() else None
    if folder is not None and (folder / SPLITS_FILE).is_file():
        return folder
    # A superuser may write anywhere, so the folder's own mode says whether somebody wanted it left alone.
    if folder is not None and os.access(folder, os.W_OK) and folder.stat().st_mode & stat.S_IWUSR:
        return folder
    return fallback


def read(home: Path | None, salt: str) -> Kept:
    """What the folder `home` keeps; nothing yet, under `salt`, where it has no file. Raises ValueError if damaged."""
    path = None if home is None else home / SPLITS_FILE
    if path is None or not path.is_file():
        return Kept(salt)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        shares = stored.get("shares")
        rule = None if shares is None else {source: tuple(map(float, parts)) for source, parts in shares.items()}
        reserved = frozenset(stored["reserved"]) if "reserved" in stored else None
        return Kept(str(stored["salt"]), dict(stored["splits"]), rule, reserved)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it from a backup: without it rows would change splits"
        ) from error


def begin_anew(home: Path) -> int:
    """Put the splits and their looks in `home` aside, as files with a number, which is returned, and begin new ones.

    The old splits stay until the new file is written, and the old looks until there are new splits. Raises ValueError
    if there are no splits yet.
    """
    if not (home / SPLITS_FILE).is_file():
        raise ValueError(f"{home} has no {SPLITS_FILE} yet: the next training makes one")
    read(home, FIRST_SALT)
    number = 1 + len(list(home.glob(f"{SPLITS_FILE}.*")))
    for name in (SPLITS_FILE, LOOKS_FILE):
        if (home / name).is_file():
            write_atomically(home / f"{name}.{number}", (home / name).read_bytes())
    write(home, Kept(f"{FIRST_SALT} {number}"))
    BaseLooks(home).restart()
    return number


def write(home: Path, kept: Kept) -> None:
    """Replace the file whole."""
    home.mkdir(parents=True, exist_ok=True)
    values: dict[str, Any] = {"salt": kept.salt, "splits": dict(sorted(kept.splits.items()))}
    if kept.shares is not None:
        values["shares"] = kept.shares
    if kept.reserved is not None:
        values["reserved"] = sorted(kept.reserved)
    write_atomically(home / SPLITS_FILE, json.dumps(values, indent=0).encode() + b"\n")
