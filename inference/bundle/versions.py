"""Versions of a model, models/<name>/<version>/: which there are, which serves, and how another one comes to serve."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from inference.bundle.manifest import CURRENT, VERSION, Bundle, BundleError
from inference.bundle.manifest import serving as serving  # it is one of these, and reading a bundle needs it
from inference.common.files import write_atomically

REJECTED = "rejected.json"
OVERRULED = "overruled.json"  # the rejected versions that a person let serve all the same
TRIAL = "trial.json"
_LOCK = ".switch.lock"


class Conflict(BundleError):
    """Another version serves than the one that was seen: somebody was faster. Nothing was changed."""


def versions(home: Path) -> list[str]:
    """The complete versions under `models/<name>`, oldest first."""
    return sorted(p.name for p in home.glob("*") if VERSION.fullmatch(p.name) and (p / "manifest.json").is_file())


def reasons(home: Path, version: str) -> list[str]:
    """Why a version was rejected; empty for one that was not."""
    return _listed(home / version / REJECTED)


def served(home: Path) -> list[str]:
    """The versions that serve or served, oldest first: those that passed, or that a person promoted all the same."""
    overruled = _listed(home / OVERRULED)
    return [name for name in versions(home) if not reasons(home, name) or name in overruled]


def before(home: Path) -> str | None:
    """The version to which `rollback` would go, None where there is none."""
    now = serving(home) or ""
    return next((name for name in reversed(served(home)) if name < now), None)


def switch(home: Path, version: str, seen: str | None = None) -> None:
    """Let `version` serve, after verifying it; what was on trial is no more.

    `seen` is the version that is to be replaced. Raises BundleError if it must not be served, Conflict if another than
    `seen` serves by now.
    """
    if version not in versions(home):
        raise BundleError(f"{home} has no version {version!r}; it has {', '.join(versions(home)) or 'none'}")
    Bundle.load(home / version)
    with _alone(home):
        now = serving(home)
        if seen is not None and now != seen:
            raise Conflict(f"{seen} no longer serves, {now} does since then: nothing was changed")
        write_atomically(home / CURRENT, f"{version}\n".encode())
        if version != now:  # a trial is beside the version that served
            (home / TRIAL).unlink(missing_ok=True)


def promote(home: Path, version: str, force: bool = False, seen: str | None = None) -> None:
    """Let `version` serve because a person says so. Raises ValueError if it was rejected and this is not forced.

    Else as `switch`.
    """
    rejected = version not in served(home) and version in versions(home)
    if rejected and not force:
        why = "; ".join(reasons(home, version))
        raise ValueError(f"{version} was rejected: {why}. Add --force to let it serve all the same")
    switch(home, version, seen)
    if rejected:
        write_atomically(home / OVERRULED, json.dumps([*_listed(home / OVERRULED), version]).encode())


def rollback(home: Path) -> str:
    """Let the version before the serving one serve again, and return its name. Raises BundleError if there is none."""
    now, older = serving(home), before(home)
    if not now:
        raise BundleError(f"{home / CURRENT} names no version, so there is none to go back from: promote one")
    if older is None:
        raise BundleError(f"{home} has no version older than the serving one ({now})")
    switch(home, older, now)
    return older


def _listed(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        return list(map(str, json.loads(path.read_text(encoding="utf-8"))))
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} must be a list in JSON, and cannot be read: {error}") from error


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Of several processes and threads that switch, one at a time. Where there is no fcntl, the last one wins."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(home / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
