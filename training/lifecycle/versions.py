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
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    target = home / f"{stamp}-{sealed.bundle_id[:8]}"
    draft.rename(target)
    fsync(home)
    if not rejected:
        switch(home, target.name)
    return target


def reasons(home: Path, version: str) -> list[str]:
    """Why a version was rejected; empty for one that was not."""
    path = home / version / REJECTED
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def prune(home: Path, keep: int, keep_too: str = "") -> list[str]:
    """Delete all but the newest `keep` versions, the serving one and `keep_too`; the names of those that went."""
    gone = [name for name in versions(home)[:-keep] if name not in (serving(home), keep_too)]
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


def rollback(home: Path) -> str:
    """Let the version before the serving one serve again, and return its name."""
    older = [name for name in versions(home) if name < (serving(home) or "") and not reasons(home, name)]
    if not older:
        raise BundleError(f"{home} has no version older than the serving one ({serving(home)})")
    switch(home, older[-1])
    return older[-1]


def clear_drafts(home: Path, keep: Path) -> None:
    """Remove what earlier, killed runs left behind."""
    for path in (home / ".runs").glob("*"):
        if path != keep:
            shutil.rmtree(path)
