"""Redact, deduplicate, settle conflicts, split: the data set that training sees."""

from __future__ import annotations

import collections
import contextlib
import gc
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from inference.bundle.redact import Redactor
from inference.bundle.taxonomy import Taxonomy
from training.data.kept import FIRST_SALT, splits_home
from training.data.merge import Merged, merge, settle
from training.data.plan import FEWEST_ROWS, Placed, place
from training.data.rows import PEOPLE, PREFIX, Row
from training.data.sizes import Goal
from training.data.source import Reading, read_source
from training.data.splits import SPLITS

_CANONICAL = json.JSONEncoder(sort_keys=True)
LARGE_SHARE = 0.10  # of all rows: a group of near-duplicates that is so large is named


@dataclass(frozen=True)
class Dataset:
    """The rows that training sees, each in one split, and a tally of what was merged, settled or dropped.

    A row whose label is "" is a request that the teacher refused: it judges, where an answer to it is accepted, and is
    in no accuracy. Raises ValueError if such a row is in train. `barred` are intents that are never accepted as an
    answer, beside those with too few rows.
    """

    rows: tuple[Row, ...]
    taxonomy: Taxonomy
    tally: dict[str, int]
    warnings: tuple[str, ...]
    barred: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        refused = [row.id for row in self.rows if row.split == "train" and not row.label]
        if refused:
            raise ValueError(f"a row without a label cannot train: {', '.join(refused[:5])}")

    def split(self, name: str) -> tuple[Row, ...]:
        """The rows of one split, in a fixed order."""
        if name not in SPLITS:
            raise ValueError(f"no split {name!r}; the splits are {', '.join(SPLITS)}")
        return tuple(row for row in self.rows if row.split == name)

    def trials(self, name: str) -> tuple[Row, ...]:
        """The rows of one split that are one trial each for a certificate.

        A sampled live request is a trial of its own. Of every group of near-duplicates one row is drawn, by a hash.
        """
        groups: dict[str, list[Row]] = {}
        for i, row in enumerate(self.split(name)):
            groups.setdefault(str(i) if row.request or not row.group else f"group {row.group}", []).append(row)
        return tuple(min(rows, key=_draw) if len(rows) > 1 else rows[0] for rows in groups.values())

    def id(self) -> str:
        """Content id over rows, splits and taxonomy: the order of the files' lines does not matter."""
        return self._id

    @cached_property
    def _id(self) -> str:
        digest = hashlib.sha256(self.taxonomy.id().encode())
        for line in sorted(_CANONICAL.encode(vars(row)) for row in self.rows):
            digest.update(b"\n" + line.encode())
        return digest.hexdigest()

    @cached_property
    def never_accepted(self) -> tuple[str, ...]:
        """The intents that are never accepted as an answer: barred, with too few rows in all, or with none in train.

        Rows that calibrate do not count: whoever chooses by them keeps intents that were right by luck.
        """
        queries = {(row.label, row.text) for row in self.rows if row.split != "calibration"}
        counts = collections.Counter(label for label, _ in queries)
        trained = {row.label for row in self.split("train")}
        few = {name for name in self.taxonomy.names if counts[name] < FEWEST_ROWS or name not in trained}
        return tuple(name for name in self.taxonomy.names if name in few | self.barred)

    @property
    def unit(self) -> str:
        """What one trial of the calibration sample is."""
        requests = any(row.request for row in self.split("calibration"))
        return "requests" if requests else "groups of near-duplicates"

    @property
    def reference(self) -> str:
        """What the calibration rows' labels are: "teacher" as soon as a teacher gave one, "gold" where people did."""
        return "gold" if {row.labeler for row in self.split("calibration")} <= PEOPLE else "teacher"

    @property
    def teacher(self) -> dict[str, Any] | None:
        """Which teachers labelled the calibration rows, how many each, with which prompts; None where people did."""
        rows = [row for row in self.split("calibration") if row.labeler not in PEOPLE]
        if not rows:
            return None
        models = collections.Counter(row.labeler for row in rows)
        asked = (row.extra.get(PREFIX + "prompt_id", row.extra.get("prompt_id")) for row in rows)
        prompts = collections.Counter(str(prompt) for prompt in asked if prompt)
        return {"models": dict(sorted(models.items())), "prompt_ids": dict(sorted(prompts.items()))}


def _draw(row: Row) -> bytes:
    return hashlib.sha256(row.key.encode()).digest()


def load(
    data: str,
    redact: Redactor | None = None,
    fallback: Path | None = None,
    whole: bool = True,
    goal: Goal | None = None,
    remember: bool = True,
    reading: Reading | None = None,
) -> Dataset:
    """Read `data`, redact, deduplicate and split it; remember new rows' splits beside the data.

    Texts are redacted first, as the student will see them, so that two which then agree are one. Where the data's
    folder is read-only, the splits are kept in the folder `fallback`, if given; unless `remember`, nowhere.
    `goal` says for which certificate data without splits are divided. Raises ValueError if the data cannot be read and,
    unless `whole` is false because other rows will join them, if there are too few rows to train, tune and test.
    """
    with _uncollected():
        dataset = _load(data, redact, fallback, goal or Goal(), remember, reading)
    if whole:
        _check(dataset, data)
    return dataset


def _load(
    data: str, redact: Redactor | None, fallback: Path | None, goal: Goal, remember: bool, reading: Reading | None
) -> Dataset:
    source = read_source(data, reading)
    tally: collections.Counter[str] = collections.Counter(source.counts())
    merged = merge(source.rows, redact, tally)
    home = splits_home(Path(data), fallback)
    placed = place(merged, goal, home, FIRST_SALT, tally, remember)
    rows = [_row(merged[key], placed, key, tally) for key in merged if key in placed.splits]
    rows.sort(key=lambda row: (SPLITS.index(row.split), row.id, row.text))
    tally["reserved_for_training"] += len(placed.reserved)
    dataset = Dataset(tuple(rows), source.taxonomy, dict(tally), ())
    return replace(dataset, warnings=(*source.notes, *_warnings(dataset, placed)))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of rows are made, none of which refers to itself: to look for garbage among them costs seconds."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _row(merged: Merged, placed: Placed, key: str, tally: collections.Counter[str]) -> Row:
    return replace(settle(merged.rows, placed.splits[key], tally), group=placed.groups[key])


def _warnings(dataset: Dataset, placed: Placed) -> list[str]:
    warnings = []
    for split, count in sorted(placed.near_train.items()):
        what = "its certificate" if split == "calibration" else "its accuracy"
        warnings.append(f"{count} training rows are near-duplicates of {split} rows: {what} may be optimistic")
    if placed.torn:
        warnings.append("too few groups of near-duplicates to split: some were parted, so accuracy is optimistic")
    if placed.reserved:
        share = len(placed.reserved) / len(dataset.rows)
        warnings.append(
            f"{len(placed.reserved)} rows ({share:.1%}) are reserved for training: nothing judges their kind"
        )
    return warnings + warnings_of_intents(dataset) + _large_groups(dataset)


def warnings_of_intents(dataset: Dataset) -> list[str]:
    """Which intents are never accepted as an answer, and why."""
    trained = {row.label for row in dataset.split("train")}
    untrained = [name for name in dataset.never_accepted if name not in trained]
    barred = [name for name in dataset.never_accepted if name in trained & dataset.barred]
    rare = [name for name in dataset.never_accepted if name in trained - dataset.barred]
    no_request = ("no request in the sample's dev and test", barred)
    kinds = (("no training row", untrained), (f"fewer than {FEWEST_ROWS} rows", rare), no_request)
    return [
        f"never accepted as an answer, for there {'is' if why.startswith('no') else 'are'} {why}: {', '.join(names)}"
        for why, names in kinds
        if names
    ]


def _large_groups(dataset: Dataset) -> list[str]:
    """Warnings of groups of near-duplicates that are a large share of the data, or all rows of an intent."""
    groups: dict[tuple[str, str], list[Row]] = collections.defaultdict(list)
    for row in dataset.rows:
        groups[row.split, row.group].append(row)
    counts = collections.Counter(row.label for row in dataset.rows)
    found = []
    for rows in sorted(groups.values(), key=len, reverse=True):
        whole = [name for name, n in collections.Counter(row.label for row in rows).items() if n == counts[name]]
        large = len(rows) >= LARGE_SHARE * len(dataset.rows)
        if len(rows) >= FEWEST_ROWS and (whole or large):
            what = f"all rows of {', '.join(whole[:3])}" if whole else f"{len(rows) / len(dataset.rows):.0%} of all"
            found.append(f"{len(rows)} near-duplicates of {rows[0].text[:50]!r} ({what}) count as one trial")
    return found


def _check(dataset: Dataset, data: str) -> None:
    empty = [name for name in ("train", "dev", "test") if not dataset.split(name)]
    if empty:
        raise ValueError(
            f"{data}: {len(dataset.rows)} distinct rows are too few: the split {', '.join(empty)} is empty"
        )
