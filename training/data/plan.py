"""Where every query goes: what is divided, by which rule, what is kept, and what an empty split is given."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.data import kept as keeping
from training.data.kept import OLD_HALVED, OLD_HELD_OUT, OLD_SHARES, Kept
from training.data.linking import groups_of, link
from training.data.merge import JUDGING_FIRST, Merged
from training.data.sizes import Goal, Shares, shares, shares_of_train, shares_of_val
from training.data.splits import SPLITS, Linked, components, divide

FEWEST_ROWS = 8  # of an intent, in all splits together: with fewer it is never accepted as an answer
FILLED = 0.1  # the share of groups that a split gets where chance gave it none


@dataclass(frozen=True)
class Placed:
    """Each query's split and group by its key; how many train rows are near a row of each judging split.

    `reserved` are the keys of train rows that could not have come into another split. `torn` says that there were so
    few groups that near-duplicates had to be parted.
    """

    splits: dict[str, str]
    groups: dict[str, str]
    reserved: frozenset[str]
    near_train: dict[str, int]
    torn: bool = False


def place(
    merged: Mapping[str, Merged],
    goal: Goal,
    home: Path | None,
    salt: str,
    tally: collections.Counter[str],
    remember: bool = True,
) -> Placed:
    """Divide what has no split yet, remember it in the folder `home`, and say where every query is.

    Raises ValueError if the file in `home` is damaged.
    """
    stored = keeping.read(home, salt)
    known = _known(merged, stored.splits)
    keys, texts = tuple(merged), [group.rows[0].text for group in merged.values()]
    groups = groups_of(keys, texts, home if remember else None)
    linked = link(keys, [group.split for group in merged.values()], known, texts, groups)
    tally["near_duplicates"] += int((np.bincount(groups, minlength=1)[groups] > 1).sum())
    stored = replace(stored, reserved=_reserved(merged, known, stored))
    stored, plan = _plan(linked, known, stored, goal)
    splits = divide(linked, plan, known, stored.salt, tally)
    moved, torn = _filled(linked, splits, plan, known, stored.salt)
    splits |= moved
    if remember:
        _remember(merged, splits, plan, stored, home)
    group_of = {key: group[0] for group in _within(linked, splits) for key in group}
    reserved = frozenset(key for key in splits if merged[key].keys & (stored.reserved or frozenset()))
    return Placed(splits, group_of, reserved, _near_train(linked, splits), torn)


def _known(merged: Mapping[str, Merged], splits: Mapping[str, str]) -> dict[str, str]:
    """The splits that queries had, under whichever of their keys."""
    known = {}
    for key, group in merged.items():
        had = [splits[one] for one in group.keys if splits.get(one) in SPLITS]
        if had:
            known[key] = splits[key] if splits.get(key) in SPLITS else min(had, key=JUDGING_FIRST.index)
    return known


def _reserved(merged: Mapping[str, Merged], known: Mapping[str, str], stored: Kept) -> frozenset[str]:
    """The rows that an older version kept for training: all those of an intent that had too few to split."""
    if stored.reserved is not None:
        return stored.reserved
    intents: dict[str, list[str]] = collections.defaultdict(list)
    for key in known:
        if not merged[key].split:
            intents[merged[key].rows[0].label].append(key)
    few = [keys for keys in intents.values() if len(keys) < FEWEST_ROWS and {known[key] for key in keys} == {"train"}]
    return frozenset(key for keys in few for key in keys)


def _plan(linked: Linked, known: Mapping[str, str], stored: Kept, goal: Goal) -> tuple[Kept, dict[str, Shares]]:
    """What is divided, and in what shares; the rule is kept once it is made."""
    missing = _missing(set(linked.given))
    if stored.shares is None:
        return stored, {source: _old_shares(source, names) for source, names in missing.items()}
    rule = dict(stored.shares)
    reserved = set(stored.reserved or ())
    for source, names in missing.items():
        rows = linked.of(source)
        now = _shares(source, names, len(components(rows, linked.near.__getitem__)), goal)
        if source not in rule:
            rule[source] = now
        elif "calibration" in names and not rule[source][2] and now[2]:
            # From here on there are enough: rows that come may calibrate, those that came before could not.
            rule[source] = now
            reserved |= {key for i in rows for key in linked.units[i] if known.get(key) == "train"}
    plan = {source: rule[source] for source in missing}
    return replace(stored, shares=rule, reserved=frozenset(reserved)), plan


def _missing(given: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Which given splits are divided further, and what their rows are wanted for: "" is of rows with no split."""
    missing: dict[str, tuple[str, ...]] = {}
    if "" in given:
        missing[""] = ("dev", "calibration", "test")
    if "val" in given:
        missing["val"] = ("dev",) if "calibration" in given else ("dev", "calibration")
    covered = set(SPLITS) if "" in given else {*given, *missing.get("val", ())}
    lacking = tuple(name for name in SPLITS[1:] if name not in covered)
    if "train" in given and lacking:
        missing["train"] = lacking
    return missing


def _shares(source: str, wanted: Collection[str], rows: int, goal: Goal) -> Shares:
    if source == "val":
        return shares_of_val(rows, goal, "calibration" in wanted)
    return shares_of_train(rows, goal, wanted) if source else shares(rows, goal)


def _old_shares(source: str, wanted: Collection[str]) -> Shares:
    if source == "val":
        return OLD_HALVED if "calibration" in wanted else (0.0, 1.0, 0.0, 0.0)
    if not source or len(wanted) == 3:
        return OLD_SHARES
    held = [share if name in wanted else 0.0 for name, share in OLD_HELD_OUT.items()]
    return (1 - sum(held), *held)


def _filled(
    linked: Linked, splits: Mapping[str, str], plan: Mapping[str, Shares], known: Mapping[str, str], salt: str
) -> tuple[dict[str, str], bool]:
    """Rows for a train, dev or test split that chance left empty, and whether groups had to be parted for that.

    Calibration is left as it is: rows that are chosen are no random sample.
    """
    now, torn = dict(splits), False
    for name in ("train", "dev", "test"):
        if name in now.values():
            continue
        fresh = {key for i, keys in enumerate(linked.units) if linked.given[i] in plan for key in keys if key in now}
        movable = (fresh - known.keys()) or fresh
        by_split: dict[str, list[list[str]]] = collections.defaultdict(list)
        for group in _within(linked, now):
            if movable.issuperset(group):
                by_split[now[group[0]]].append(group)
        units = max(by_split.values(), key=lambda groups: (len(groups) > 1, sum(map(len, groups))), default=[])
        if len(units) < 2:
            units, torn = [[key] for group in units for key in group], True
        units.sort(key=lambda group: (len(group), hashlib.sha256(f"{salt}\n{group[0]}".encode()).digest()))
        for group in units[: min(len(units) - 1, max(1, round(FILLED * len(units))))]:
            now |= dict.fromkeys(group, name)
    return {key: split for key, split in now.items() if splits[key] != split}, torn


def _within(linked: Linked, splits: Mapping[str, str]) -> list[list[str]]:
    """The groups of near-duplicates in one split, as sorted keys."""
    parts: dict[tuple[int, str], list[str]] = {}
    for i, keys in enumerate(linked.units):
        for key in keys:
            if key in splits:
                parts.setdefault((i, splits[key]), []).append(key)
    found = components(parts, lambda part: ((j, part[1]) for j in linked.near.get(part[0], ())))
    return [sorted(key for part in group for key in parts[part]) for group in found]


def _near_train(linked: Linked, splits: Mapping[str, str]) -> dict[str, int]:
    near: collections.Counter[str] = collections.Counter()
    held = [collections.Counter(splits[key] for key in keys if key in splits) for keys in linked.units]
    for i, own in enumerate(held):
        if own["train"]:
            for split in {split for j in (i, *linked.near.get(i, ())) for split in held[j]} - {"train"}:
                near[split] += own["train"]
    return dict(near)


def _remember(
    merged: Mapping[str, Merged], splits: Mapping[str, str], plan: Mapping[str, Shares], stored: Kept, home: Path | None
) -> None:
    # Under the key of the text as it came as well: whoever reads the data without redacting it finds the same split.
    ours = {one: split for key, split in splits.items() if merged[key].split in plan for one in merged[key].keys}
    if home is not None and {**stored.splits, **ours} != stored.splits:
        keeping.write(home, replace(stored, splits={**stored.splits, **ours}))
