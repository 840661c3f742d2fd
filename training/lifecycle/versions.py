"""New versions of a model, and those that go: seal, move into place, prune. The rest: inference.bundle.versions."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from inference.bundle import trial
from inference.bundle.manifest import Bundle, Manifest, read_manifest, seal
from inference.bundle.versions import REJECTED, served, serving, switch, versions
from inference.classifier import Classifier
from inference.common.files import fsync

_STAMP = "%Y%m%dT%H%M%SZ"


def next_lineage_version(home: Path) -> int:
    """One more than the highest lineage version ever published here: each look at the calibration rows counts."""
    return 1 + max((int(read_manifest(home / name).lineage.get("version", 0)) for name in versions(home)), default=0)


def publish(draft: Path, manifest: Manifest, home: Path, rejected: Sequence[str] = (), on_trial: bool = False) -> Path:
    """Seal `draft`, verify it as a stranger would, move it to `home/<version>` and let it serve.

    With reasons in `rejected` it is kept beside the others and does not serve; `on_trial` it answers beside the serving
    one, in the log alone. Raises BundleError if the sealed bundle
    does not load and answer; `current` then stays as it was.
    """
    if rejected:
        (draft / REJECTED).write_text(json.dumps(list(rejected), indent=1), encoding="utf-8")
    sealed = seal(draft, manifest)
    Classifier(Bundle.load(draft)).predict("Is anybody there?")
    target = home / f"{_stamp(home)}-{sealed.bundle_id[:8]}"
    draft.rename(target)
    fsync(home)
    if not rejected and on_trial:
        trial.begin(home, target.name)
    elif not rejected:
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


def prune(home: Path, keep: int, keep_too: str = "") -> list[str]:
    """Delete all but the newest `keep` versions that served, the newest `keep` rejected ones, the serving one, the
    one on trial and `keep_too`; the names of those that went. With 0 all are kept.
    """
    good = served(home)
    rejected = [name for name in versions(home) if name not in good]
    old = [*good[:-keep], *rejected[:-keep]] if keep else []
    tried = trial.on_trial(home)
    gone = [name for name in old if name not in (serving(home), keep_too, tried and tried.version)]
    for name in gone:
        shutil.rmtree(home / name)
    return gone


def clear_drafts(home: Path, keep: Path) -> None:
    """Remove what earlier, killed runs left behind."""
    for path in (home / ".runs").glob("*"):
        if path != keep:
            shutil.rmtree(path)
