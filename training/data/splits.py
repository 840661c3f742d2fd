"""The ONLY splits: train / dev / calibration / test, by a hash of the near-duplicate group, kept beside the data."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference.common.files import write_atomically
from training.data.duplicates import near_pairs
from training.data.rows import Row, Source

SPLITS = ("train", "dev", "calibration", "test")
SHARES = (0.55, 0.10, 0.25, 0.10)
HALVED = (0.0, 0.5, 0.5, 0.0)  # a val file that comes without a calibration file
# What a train file gives up for each split that has no file.
HELD_OUT = {"dev": 0.05, "calibration": 0.10, "test": 0.10}
SPLITS_FILE = "splits.json"


def plan_splits(source: Source) -> dict[str, tuple[float, ...]]:
    """Which given splits are divided further, and in what shares: "" stands for rows with no split of their own."""
    given = {row.split for row in source.rows}
    plan: dict[str, tuple[float, ...]] = {"": SHARES}
    if "val" in given:
        plan["val"] = HALVED if "calibration" not in given else (0.0, 1.0, 0.0, 0.0)
    covered = set(SPLITS) if "" in given else given | ({"dev", "calibration"} if "val" in given else set())
    if covered == {"train"}:
        plan["train"] = SHARES
    elif not covered >= set(SPLITS):
        held = [0.0 if name in covered else share for name, share in HELD_OUT.items()]
        plan["train"] = (1 - sum(held), *held)
    return plan


def assign(
    groups: dict[str, list[Row]],
    rare: set[str],
    plan: dict[str, tuple[float, ...]],
    home: Path | None,
    salt: str,
    tally: collections.Counter[str],
) -> dict[str, str]:
    """Query key → split. A query that would bridge two near-duplicate groups of different splits is left out."""
    splits = {key: group[0].split for key, group in groups.items() if group[0].split not in plan}
    stored = _read_splits(home)
    salt = stored.get("salt", salt)
    kept = {key: split for key, split in stored.get("splits", {}).items() if split in SPLITS}
    for given, shares in plan.items():
        keys = [key for key, group in groups.items() if group[0].split == given]
        texts = [groups[key][0].text for key in keys]
        known = {key: kept[key] for key in keys if key in kept}
        if not given:
            known |= {key: "train" for key in keys if key not in kept and groups[key][0].label in rare}
        splits |= divide(keys, texts, known, shares, salt, tally)
    ours = kept | {key: split for key, split in splits.items() if groups[key][0].split in plan}
    if home is not None and ours != kept:
        _write_splits(home, salt, ours)
    return splits


def divide(
    keys: Sequence[str],
    texts: Sequence[str],
    kept: dict[str, str],
    shares: Sequence[float],
    salt: str,
    tally: collections.Counter[str],
) -> dict[str, str]:
    """Split distinct queries so that near-duplicates stay together and a query in `kept` stays where it is."""
    neighbours: dict[int, list[int]] = collections.defaultdict(list)
    for i, j in near_pairs(texts):
        neighbours[i].append(j)
        neighbours[j].append(i)
    tally["near_duplicates"] += len(neighbours)
    component: dict[int, int] = {}
    members: dict[int, list[int]] = {}
    split_of: dict[int, str | None] = {}
    for i in sorted(range(len(keys)), key=lambda k: keys[k] not in kept):  # stable: the stored ones first
        own = kept.get(keys[i])
        touched = {component[j] for j in neighbours[i] if j in component}
        known = {split_of[c] for c in touched if split_of[c] is not None} | ({own} if own else set())
        if len(known) > 1:
            if own is None:
                tally["bridging"] += 1
                continue
            touched = {c for c in touched if split_of[c] == own}
        component[i], members[i], split_of[i] = i, [i], next(iter({own} if own else known), None)
        for c in touched:
            for k in members.pop(c):
                component[k] = i
                members[i].append(k)
    result: dict[str, str] = {}
    for c, group in members.items():
        split = split_of[c] or pick(min(keys[k] for k in group), shares, salt)
        result |= {keys[k]: split for k in group}
    return result


def pick(key: str, shares: Sequence[float], salt: str) -> str:
    """The split of a group, by a hash of its key and the salt."""
    point = int.from_bytes(hashlib.sha256(f"{salt}\n{key}".encode()).digest()[:8], "big") / 2**64
    edges = np.cumsum(shares)
    return SPLITS[int(np.searchsorted(edges[:-1], point, side="right"))]


def splits_home(data: Path, fallback: Path | None) -> Path | None:
    """The folder that holds the splits: the data's own, else `fallback`."""
    folder = data if data.is_dir() else data.parent if data.is_file() else None
    if folder is not None and (folder / SPLITS_FILE).is_file():
        return folder
    # A superuser may write anywhere, so the folder's own mode says whether somebody wanted it left alone.
    if folder is not None and os.access(folder, os.W_OK) and folder.stat().st_mode & stat.S_IWUSR:
        return folder
    return fallback


def _read_splits(home: Path | None) -> dict[str, Any]:
    path = None if home is None else home / SPLITS_FILE
    if path is None or not path.is_file():
        return {}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"salt": str(stored["salt"]), "splits": dict(stored["splits"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}); restore it from a backup: without it rows would change splits"
        ) from error


def _write_splits(home: Path, salt: str, splits: dict[str, str]) -> None:
    home.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"salt": salt, "splits": dict(sorted(splits.items()))}, indent=0)
    write_atomically(home / SPLITS_FILE, text.encode() + b"\n")
