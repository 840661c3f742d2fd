"""Which accepted answers a stricter certificate would have accepted too, whichever bundle gave them."""

from __future__ import annotations

from pathlib import Path

from inference.bundle.manifest import BundleError, Manifest, read_manifest
from inference.log.audits import Audited


class Thresholds:
    """The certified thresholds of the versions in `home`, which is models/<name>, as they are asked for.

    Of a version that is gone nobody knows them: its answers keep no stricter target. Not safe between threads.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: dict[str, Manifest | None] = {}

    def keeps(self, answer: Audited, target: float) -> bool:
        """Whether an accepted answer lies above its bundle's threshold for `target`."""
        manifest = self._manifest(answer.bundle_id)
        above = None if manifest is None else accept_above(manifest, target)
        if above is None or answer.confidence is None:
            return False
        # A rule answers where its measured precision, which is its confidence, reaches the target.
        return answer.confidence >= target if answer.source == "rules" else answer.confidence > above

    def _manifest(self, bundle_id: str) -> Manifest | None:
        if bundle_id not in self._known:
            self._known[bundle_id] = self._find(bundle_id)
        return self._known[bundle_id]

    def _find(self, bundle_id: str) -> Manifest | None:
        for folder in self._home.glob(f"*-{bundle_id[:8]}") if bundle_id[:8].isalnum() else ():
            try:
                found = read_manifest(folder)
            except BundleError:
                continue
            if found.bundle_id == bundle_id:
                return found
        return None


def accept_above(manifest: Manifest, target: float) -> float | None:
    """The threshold of the certificate for `target`, None where there is none."""
    return next((one.accept_above for one in manifest.certificates if one.target == target), None)


def stricter(manifest: Manifest, target: float) -> list[float]:
    """The targets above `target` that are certified, the loosest first."""
    return sorted(one.target for one in manifest.certificates if one.target > target and one.accept_above is not None)
