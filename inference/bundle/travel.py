"""Bundles on shared storage: any place that fsspec knows, such as s3://, gs://, hf:// or file://.

A version's folder is written once, its manifest last, and `current`, which says what serves, only then. So a reader
finds the version of before or the new one, whatever is stopped when, and two that push at once never mix their files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from inference.bundle.manifest import CURRENT, MANIFEST, VERSION, Bundle, BundleError, read_manifest
from inference.bundle.versions import serving
from inference.common.files import fsync, write_atomically
from inference.common.places import is_url
from inference.common.storage import shown, storage, told

DRAFT, ABANDONED_S = ".fetched.", 86_400.0


def cache_of(url: str) -> Path:
    """The folder here that holds what was fetched from `url`, in the form of models/<name>.

    Raises BundleError if there is no place for it.
    """
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise BundleError(f"{shown(url)} has no place here: {error} Set XDG_CACHE_HOME to a folder") from error
    return Path(home) / "monoku" / hashlib.sha256(url.encode()).hexdigest()[:16]


def home_of(place: str) -> Path:
    """The folder here that a place stands for: the path itself, or what a URL is fetched into. Nothing is fetched."""
    return cache_of(place) if is_url(place) else Path(place).absolute()


def fetch(url: str) -> Path:
    """Bring the version that serves at `url`, models/<name> there, and let it serve in `cache_of(url)`; that folder.

    Only what is missing here is read. Raises BundleError if the storage cannot be read or holds no valid bundle; the
    version of before then serves on.
    """
    home = cache_of(url)
    system, root = _storage(url)
    version = _read(system, f"{root}/{CURRENT}", url).decode("utf-8", "replace").strip()
    if not VERSION.fullmatch(version):
        raise BundleError(f"{shown(url)}/{CURRENT} names {version[:80]!r}, expected a version")
    try:
        if not (home / version / MANIFEST).is_file():
            _download(system, f"{root}/{version}", url, home / version)
        if serving(home) != version:
            write_atomically(home / CURRENT, f"{version}\n".encode())
    except OSError as error:
        raise BundleError(
            f"{home}, where {shown(url)} is kept, cannot be written: {error}; set XDG_CACHE_HOME to a folder that can"
        ) from error
    return home


def push(home: Path, url: str) -> str:
    """Copy the version that serves in models/<name> to `url` and let it serve there; its name.

    Raises BundleError if it must not be served, or the storage holds another bundle of that name or cannot be written.
    """
    found = Bundle.load(home)
    version = found.root.name
    system, root = _storage(url)
    place = f"{root}/{version}"
    manifest = (found.root / MANIFEST).read_bytes()
    with told(url, "written", BundleError):
        there = system.cat_file(f"{place}/{MANIFEST}") if system.exists(f"{place}/{MANIFEST}") else None
        if there not in (None, manifest):
            raise BundleError(f"{shown(url)} holds another bundle that is called {version}")
        if there is None:
            for name in found.manifest.files:
                _put(system, f"{place}/{name}", (found.root / name).read_bytes())
            _put(system, f"{place}/{MANIFEST}", manifest)
        _put(system, f"{root}/{CURRENT}", f"{version}\n".encode())
    return version


def _download(system: Any, place: str, url: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    # Not named by the process: threads fetch at once, and containers that share a cache have the same numbers.
    draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=folder.parent))
    try:
        (draft / MANIFEST).write_bytes(_read(system, f"{place}/{MANIFEST}", url))
        for name in read_manifest(draft).files:
            path = draft / name
            if not path.resolve().is_relative_to(draft.resolve()):
                raise BundleError(f"{shown(url)}: the manifest names {name!r}, a path outside the folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_read(system, f"{place}/{name}", url))
            fsync(path)
        Bundle.load(draft)
        _settle(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _settle(draft: Path, folder: Path) -> None:
    """Give a whole version its name, unless somebody else has just done so."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / MANIFEST).is_file():
            raise
    fsync(folder.parent)


def _sweep(home: Path) -> None:
    """Delete what a fetch that was killed has left behind."""
    for draft in home.glob(f"{DRAFT}*"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(draft, ignore_errors=True)


def _storage(url: str) -> tuple[Any, str]:
    system, root = storage(url, BundleError)
    with told(url, "opened", BundleError):
        system.invalidate_cache()
    return system, root.rstrip("/")


def _read(system: Any, place: str, url: str) -> bytes:
    with told(url, "read", BundleError):
        return bytes(system.cat_file(place))


def _put(system: Any, place: str, content: bytes) -> None:
    system.makedirs(place.rpartition("/")[0], exist_ok=True)
    system.pipe_file(place, content)
