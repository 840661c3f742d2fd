"""Deduplicate, settle conflicts, and make the data set that training sees."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.redact import Redactor
from inference.bundle.taxonomy import Taxonomy
from training.data.rows import Row, read_source
from training.data.splits import SPLITS, assign, plan_splits, splits_home

FEWEST_ROWS_TO_SPLIT = 8
PEOPLE = {"author", "human"}


@dataclass(frozen=True)
class Dataset:
    """The rows that training sees, each in one split, and a tally of what was merged, settled or dropped."""

    rows: tuple[Row, ...]
    taxonomy: Taxonomy
    tally: dict[str, int]
    warnings: tuple[str, ...]

    def split(self, name: str) -> tuple[Row, ...]:
        """The rows of one split, in a fixed order."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}; the splits are {', '.join(SPLITS)}")
        return tuple(row for row in self.rows if row.split == name)

    def id(self) -> str:
        """Content id over rows, splits and taxonomy: the order of the files' lines does not matter."""
        rows = sorted(json.dumps(asdict(row), sort_keys=True) for row in self.rows)
        return hashlib.sha256("\n".join([self.taxonomy.id(), *rows]).encode()).hexdigest()

    @property
    def reference(self) -> str:
        """What the labels are: "gold" where people or the authors labelled, "teacher" as soon as a teacher did."""
        return "gold" if {row.labeler for row in self.rows} <= PEOPLE else "teacher"

    @property
    def teacher(self) -> dict[str, Any] | None:
        """Which teachers labelled, and with which prompts; None where people did."""
        rows = [row for row in self.rows if row.labeler not in PEOPLE]
        if not rows:
            return None
        prompts = {str(row.extra["prompt_id"]) for row in rows if row.extra.get("prompt_id")}
        return {"models": sorted({row.labeler for row in rows}), "prompt_ids": sorted(prompts)}


def redacted(dataset: Dataset, redact: Redactor) -> Dataset:
    """The same rows and splits with every text redacted, as the student will see texts."""
    return replace(dataset, rows=tuple(replace(row, text=redact(row.text)) for row in dataset.rows))


def load(data: str, fallback: Path | None = None, whole: bool = True) -> Dataset:
    """Read `data`, deduplicate it and split it; remember new rows' splits beside the data.

    Where the data's folder is read-only, the splits are kept in the folder `fallback`, if given. Raises ValueError if
    the data cannot be read or split and, unless `whole` is false because other rows will join them, if a split is empty
    or an intent has no training row.
    """
    source = read_source(data)
    tally: collections.Counter[str] = collections.Counter(read=len(source.rows), unlabelled=source.unlabelled)
    warnings = [f"ignored {name}: not one of the known file names" for name in source.ignored]
    groups = _merge(source.rows, tally)
    rare = _rare_intents(groups)
    warnings += [f"intent {label} has too few rows to split: all of them go to train" for label in sorted(rare)]
    splits = assign(
        groups, rare, plan_splits(source), splits_home(Path(data), fallback), Path(data).resolve().stem, tally
    )
    rows = [_settle(group, splits[key], tally) for key, group in groups.items() if key in splits]
    rows.sort(key=lambda row: (SPLITS.index(row.split), row.id, row.text))
    dataset = Dataset(tuple(rows), source.taxonomy, dict(tally), tuple(warnings))
    if whole:
        _check(dataset, data)
    return dataset


def _merge(rows: Iterable[Row], tally: collections.Counter[str]) -> dict[str, list[Row]]:
    """Rows by query. A query in two splits stays in the one that judges: test before calibration before dev."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.key, []).append(row)
    order = ("test", "calibration", "val", "dev", "train", "")
    for key, group in groups.items():
        keep = min((row.split for row in group), key=order.index)
        kept = [row for row in group if row.split == keep]
        tally["leaks"] += len(group) - len(kept)
        tally["duplicates"] += len(kept) - 1
        groups[key] = kept
    return groups


def _rare_intents(groups: dict[str, list[Row]]) -> set[str]:
    """Intents with too few rows to split, counted over rows that bring no split of their own."""
    counts = collections.Counter(group[0].label for group in groups.values() if not group[0].split)
    return {label for label, count in counts.items() if count < FEWEST_ROWS_TO_SPLIT}


def _settle(group: list[Row], split: str, tally: collections.Counter[str]) -> Row:
    """One row per query. Only train settles conflicts; every other split keeps its first answer as it is."""
    first = replace(group[0], split=split)
    labels = {row.label for row in group}
    if len(labels) == 1:
        return first
    if split != "train":
        tally["conflicts_kept_first"] += 1
        return first
    human = [row for row in group if row.labeler == "human"]
    if human:
        tally["conflicts_settled_by_human"] += 1
        return replace(human[-1], split=split)
    votes: collections.Counter[str] = collections.Counter()
    for row in group:
        votes.update(row.shares or {row.label: 1.0})
    tally["conflicts_as_shares"] += 1
    total = sum(votes.values())
    label = max(sorted(votes), key=lambda name: votes[name])
    return replace(first, label=label, shares={name: votes[name] / total for name in sorted(votes)})


def _check(dataset: Dataset, data: str) -> None:
    empty = [name for name in SPLITS if not dataset.split(name)]
    if empty:
        raise ValueError(
            f"{data}: {len(dataset.rows)} distinct rows are too few: the split {', '.join(empty)} is empty"
        )
    unseen = sorted(set(dataset.taxonomy.names) - {row.label for row in dataset.split("train")})
    if unseen:
        raise ValueError(
            f"{data}: no training row has the intent {', '.join(unseen[:5])}; add rows or take it out of the taxonomy"
        )


def target_matrix(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    """Target distributions, shape (rows, labels): vote shares where there are any, else one-hot."""
    index = {label: i for i, label in enumerate(labels)}
    matrix = np.zeros((len(rows), len(labels)))
    for i, row in enumerate(rows):
        for label, share in (row.shares or {row.label: 1.0}).items():
            matrix[i, index[label]] = share
    return matrix


def describe(dataset: Dataset) -> str:
    """The figures that `python -m training.dataset` prints."""
    lengths = np.array([len(row.text.split()) for row in dataset.rows])
    lines = [f"rows            {len(dataset.rows)} distinct of {dataset.tally['read']} read"]
    words = f"median {np.median(lengths):.0f}, p95 {np.percentile(lengths, 95):.0f}, max {lengths.max()}"
    lines.append(f"words per row   {words}")
    lines += [f"{name.replace('_', ' '):<28}{count}" for name, count in sorted(dataset.tally.items()) if name != "read"]
    lines.append(f"{'intent':<28}" + "".join(f"{name:>12}" for name in SPLITS))
    counts = collections.Counter((row.label, row.split) for row in dataset.rows)
    names = sorted(dataset.taxonomy.names, key=lambda n: -sum(counts[n, s] for s in SPLITS))
    shown = names if len(names) <= 20 else names[:10] + names[-10:]
    lines += [f"{name:<28}" + "".join(f"{counts[name, split]:>12}" for split in SPLITS) for name in shown]
    if len(shown) < len(names):
        lines.append(f"(the 10 largest and the 10 smallest of {len(names)} intents)")
    lines.append(f"{'all':<28}" + "".join(f"{len(dataset.split(split)):>12}" for split in SPLITS))
    lines += [f"warning: {warning}" for warning in dataset.warnings]
    return "\n".join([*lines, f"content id      {dataset.id()}"])
