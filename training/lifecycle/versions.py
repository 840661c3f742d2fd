"""Versions of a model: seal, move into place, switch, roll back, prune."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.manifest import CURRENT, VERSION, Bundle, BundleError, Manifest, read_manifest, seal
from inference.classifier import Classifier
from inference.common.files import fsync, write_atomically

REJECTED = "rejected.json"
OVERRULED = "overruled.json"  # the rejected versions that a person let serve all the same
_STAMP = "%Y%m%dT%H%M%SZ"


def versions(home: Path) -> list[str]:
    """The complete versions under `models/<name>`, oldest first."""
    return sorted(p.name for p in home.glob("*") if VERSION.fullmatch(p.name) and (p / "manifest.json").is_file())


def next_lineage_version(home: Path) -> int:
    """One more than the highest lineage version ever published here: each look at the calibration rows counts."""
    return 1 + max((int(read_manifest(home / name).lineage.get("version", 0)) for name in versions(home)), default=0)


def publish(draft: Path, manifest: Manifest, home: Path, rejected: Sequence[str] = ()) -> Path:
    """Seal `draft`, verify it as a stranger would, move it to `home/<version>` and let it serve.

    With reasons in `rejected` it is kept beside the others and does not serve. Raises BundleError if the sealed bundle
    does not load and answer; `current` then stays as it was.
    """
    if rejected:
        (draft / REJECTED).write_text(json.dumps(list(rejected), indent=1), encoding="utf-8")
    sealed = seal(draft, manifest)
    Classifier(Bundle.load(draft)).predict("Is anybody there?")
    target = home / f"{_stamp(home)}-{sealed.bundle_id[:8]}"
    draft.rename(target)
    fsync(home)
    if not rejected:
        switch(home, target.name)
    return target


def _stamp(home: Path) -> str:
    """The time of a new version. Versions follow each other by name, so it is never before that of the newest one."""
    now = datetime.datetime.now(datetime.UTC)
    newest = max((name.partition("-")[0] for name in versions(home)), default="")
    if newest <= now.strftime(_STAMP):
        return now.strftime(_STAMP)
    print(f"note: the clock says {now:{_STAMP}}, and there is a version of {newest}: the new one is named to follow it")
    after = datetime.datetime.strptime(newest, _STAMP) + datetime.timedelta(seconds=1)
    return after.strftime(_STAMP)


def reasons(home: Path, version: str) -> list[str]:
    """Why a version was rejected; empty for one that was not."""
    path = home / version / REJECTED
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def served(home: Path) -> list[str]:
    """The versions that serve or served, oldest first: those that passed, or that a person promoted all the same."""
    overruled = _overruled(home)
    return [name for name in versions(home) if not reasons(home, name) or name in overruled]


def _overruled(home: Path) -> list[str]:
    path = home / OVERRULED
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def prune(home: Path, keep: int, keep_too: str = "") -> list[str]:
    """Delete all but the newest `keep` versions that served, the newest `keep` rejected ones, the serving one and
    `keep_too`; the names of those that went. With 0 all are kept.
    """
    good = served(home)
    rejected = [name for name in versions(home) if name not in good]
    old = [*good[:-keep], *rejected[:-keep]] if keep else []
    gone = [name for name in old if name not in (serving(home), keep_too)]
    for name in gone:
        shutil.rmtree(home / name)
    return gone


def serving(home: Path) -> str | None:
    """The version that `current` names, None where there is none."""
    pointer = home / CURRENT
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def switch(home: Path, version: str) -> None:
    """Let `version` serve, after verifying it. Raises BundleError if it must not be served."""
    if version not in versions(home):
        raise BundleError(f"{home} has no version {version!r}; it has {', '.join(versions(home)) or 'none'}")
    Bundle.load(home / version)
    write_atomically(home / CURRENT, f"{version}\n".encode())


def promote(home: Path, version: str, force: bool = False) -> None:
    """Let `version` serve because a person says so. Raises BundleError if it must not be served, ValueError if it was
    rejected and this is not to be forced.
    """
    rejected = version not in served(home) and version in versions(home)
    if rejected and not force:
        why = "; ".join(reasons(home, version))
        raise ValueError(f"{version} was rejected: {why}. Add --force to let it serve all the same")
    switch(home, version)
    if rejected:
        write_atomically(home / OVERRULED, json.dumps([*_overruled(home), version]).encode())


def rollback(home: Path) -> str:
    """Let the version before the serving one serve again, and return its name."""
    older = [name for name in served(home) if name < (serving(home) or "")]
    if not older:
        raise BundleError(f"{home} has no version older than the serving one ({serving(home)})")
    switch(home, older[-1])
    return older[-1]


def clear_drafts(home: Path, keep: Path) -> None:
    """Remove what earlier, killed runs left behind."""
    for path in (home / ".runs").glob("*"):
        if path != keep:
            shutil.rmtree(path)
