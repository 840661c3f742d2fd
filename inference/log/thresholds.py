"""Which accepted answers a stricter certificate would have accepted too, whichever bundle gave them."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from inference.bundle.manifest import BundleError, Certificate, Manifest, read_manifest, resolve
from inference.log.audits import Audited


class Thresholds:
    """The certified thresholds of the versions in `home`, which is models/<name>, as they are asked for.

    Of a version that is gone nobody knows them: its answers keep no stricter target. Not safe between threads.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._known: dict[str, Manifest | None] = {}

    def keeps(self, answer: Audited, target: float, gone: bool = False) -> bool:
        """Whether an accepted answer lies above its bundle's threshold for `target`; `gone` where that is not known.

        Of a text that the exit answered, and would leave to the student there, nobody knows: it does not.
        """
        manifest = self._manifest(answer.bundle_id)
        if manifest is None:
            return gone
        certificate = _certificate(manifest, target)
        if certificate is None or certificate.accept_above is None or answer.confidence is None:
            return False
        if answer.source == "rules":  # it answers where its measured precision, its confidence, reaches the target
            return answer.confidence >= target
        above = certificate.exit_above if answer.source == "exit" else certificate.accept_above
        return above is not None and answer.confidence > above

    def pooled(self, answer: Audited, own: Collection[str] = ()) -> bool:
        """Whether the promise that is watched is about the answer: it names no intent with a target of its own.

        Where its bundle is gone, none of `own`: those of the bundle that serves.
        """
        manifest = self._manifest(answer.bundle_id)
        return answer.intent not in (own if manifest is None else [one.intent for one in manifest.intents])

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
    certificate = _certificate(manifest, target)
    return None if certificate is None else certificate.accept_above


def _certificate(manifest: Manifest, target: float) -> Certificate | None:
    return next((one for one in manifest.certificates if one.target == target), None)


def not_watched(manifest: Manifest) -> list[str]:
    """The intents that are accepted by a certificate of their own: no detector looks at their answers."""
    return [one.intent for one in manifest.intents if one.accept_above is not None]


def own_targets(bundle: Path) -> list[dict[str, Any]]:
    """The intents with targets of their own, as the report of the serving version has them: none in an older one.

    Raises BundleError if it cannot be read.
    """
    path = resolve(bundle) / "report.json"
    try:
        found = json.loads(path.read_bytes()).get("intent_certificates", ())
        return [
            {
                "intent": str(one["intent"]),
                "target": float(one["target"]),
                "certified": one["accept_above"] is not None,
                "lacks": int(one["lacks"]),
                "watched": False,
            }
            for one in found
        ]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BundleError(f"{path} has no readable intent_certificates: {type(error).__name__}: {error}") from error


def stricter(manifest: Manifest, target: float) -> list[float]:
    """The targets above `target` that are certified, the loosest first."""
    return sorted(one.target for one in manifest.certificates if one.target > target and one.accept_above is not None)
