"""The versions of a model as the page shows them, with the gate's verdict on each."""

from __future__ import annotations

import contextlib
import datetime
import math
from pathlib import Path
from typing import Any

from inference.bundle.manifest import VERSION, BundleError, Manifest, read_manifest
from inference.bundle.versions import before, reasons, served, serving, versions
from inference.service.page import card

CARD = "README.md"


def listed(home: Path) -> dict[str, Any]:
    """All versions, the newest first, which serves, and which one a rollback leads to."""
    good = served(home)
    rows = [_row(home, name, name in good) for name in reversed(versions(home))]
    return {"rows": rows, "serving": serving(home), "before": before(home)}


def one(home: Path, name: str) -> dict[str, Any]:
    """One version, with its card. Raises BundleError if there is none."""
    known(home, name)
    path = home / name / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "This version has no card."
    return {
        "row": _row(home, name, name in served(home)),
        "card": card.html(text, f"/page/versions/{name}/plots"),
        "serving": serving(home),
    }


def plot(home: Path, name: str, file: str) -> bytes:
    """A plot of a version's card. Raises BundleError if the manifest does not list it."""
    known(home, name)
    place = f"plots/{file}"
    if place not in read_manifest(home / name).files or not (home / name / place).is_file():
        raise BundleError(f"{name} has no {place}")
    return (home / name / place).read_bytes()


def known(home: Path, name: str) -> None:
    """Raise BundleError if there is no such version."""
    if not VERSION.fullmatch(name) or name not in versions(home):
        raise BundleError(
            "there is no such version: it may have been pruned; the list of versions has all that are left"
        )


def _row(home: Path, name: str, good: bool) -> dict[str, Any]:
    rejected = reasons(home, name)
    row: dict[str, Any] = {
        "name": name,
        "made": _made(name),
        "rejected": rejected,
        "overruled": bool(rejected) and good,
    }
    try:
        return row | _facts(read_manifest(home / name))
    except BundleError as error:
        return row | {"error": str(error)}


def _made(name: str) -> str:
    with contextlib.suppress(ValueError):  # a folder may be called whatever looks like a time
        return datetime.datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ").strftime("%Y-%m-%d %H:%M")
    return name


def _number(value: Any) -> float | None:
    return value if type(value) in (int, float) and math.isfinite(value) else None


def _facts(manifest: Manifest) -> dict[str, Any]:
    found = next((one for one in manifest.certificates if one.target == manifest.target), None)
    return {
        "error": "",
        "bundle_id": manifest.bundle_id,
        "target": manifest.target,
        "certificate": found if found and found.accept_above is not None else None,
        "accuracy": _number(manifest.metrics.get("accuracy")),
        "rows": _number(manifest.metrics.get("rows")),
        "lineage": manifest.lineage.get("version"),
    }
