"""Publish: seal a bundle, move it into place, and switch `current`, each step whole or not at all.

python -m training.publish --name support --list
python -m training.publish --name support --rollback
python -m training.publish --name support --promote VERSION
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle import (
    CURRENT,
    VERSION,
    Bundle,
    BundleError,
    Manifest,
    fsync,
    read_manifest,
    seal,
    write_atomically,
)
from inference.classifier import Classifier

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


def prune(home: Path, keep: int) -> list[str]:
    """Delete all but the newest `keep` versions and the serving one; the names of those that went."""
    gone = [name for name in versions(home)[:-keep] if name != serving(home)]
    for name in gone:
        shutil.rmtree(home / name)
    return gone


def serving(home: Path) -> str | None:
    """The version that `current` names, None where there is none."""
    pointer = home / CURRENT
    return pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else None


def switch(home: Path, version: str) -> None:
    """Let `version` serve, after verifying it. Raises BundleError where it must not be served."""
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


def _status(home: Path, name: str) -> str:
    rejected = "; ".join(reasons(home, name))
    return ("  serving" if name == serving(home) else "") + (f"  rejected: {rejected}" if rejected else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="List a model's versions, roll back, or promote one.")
    parser.add_argument("--name", required=True, help="the model's name under --models")
    parser.add_argument("--models", default="models", help="the folder that holds every model")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="print the versions, the serving one marked")
    action.add_argument("--rollback", action="store_true", help="serve the version before the serving one")
    action.add_argument("--promote", metavar="VERSION", help="serve this version")
    arguments = parser.parse_args(argv)
    home = Path(arguments.models) / arguments.name
    try:
        if arguments.rollback:
            print(f"serving {rollback(home)}")
        elif arguments.promote:
            switch(home, arguments.promote)
            print(f"serving {arguments.promote}")
        else:
            for name in versions(home):
                rejected = "; ".join(reasons(home, name))
                print(
                    name
                    + ("  serving" if name == serving(home) else "")
                    + (f"  rejected: {rejected}" if rejected else "")
                )
    except (BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
