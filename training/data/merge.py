"""One row per query: copies merged, contradicting answers settled."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from dataclasses import dataclass, replace

from inference.bundle.redact import Redactor
from training.data.rows import Row

# Where a query came into several splits, it stays in the one that judges.
JUDGING_FIRST = ("test", "calibration", "val", "dev", "train", "")


@dataclass
class Merged:
    """The rows of one query. `keys` are those that it has and had: as it is now, and before its text was redacted."""

    rows: list[Row]
    keys: set[str]

    @property
    def split(self) -> str:
        return self.rows[0].split


def merge(rows: Iterable[Row], redact: Redactor | None, tally: collections.Counter[str]) -> dict[str, Merged]:
    """Rows by the key of their redacted text, in the order of the keys."""
    groups: dict[str, Merged] = {}
    for row in rows:
        text = row.text if redact is None else redact(row.text)
        seen = row if text == row.text else replace(row, text=text)
        key = seen.key
        group = groups.get(key)
        if group is None:
            group = groups[key] = Merged([], {key})
        group.rows.append(seen)
        if seen is not row:
            group.keys.add(row.key)
    for group in groups.values():
        if len(group.rows) == 1:
            continue
        keep = min((row.split for row in group.rows), key=JUDGING_FIRST.index)
        kept = [row for row in group.rows if row.split == keep]
        tally["leaks"] += len(group.rows) - len(kept)
        tally["duplicates"] += len(kept) - 1
        group.rows = kept
    return dict(sorted(groups.items()))


def settle(rows: list[Row], split: str, tally: collections.Counter[str]) -> Row:
    """One row of a query. Only train settles conflicts; every other split keeps its first answer as it is."""
    first = replace(rows[0], split=split)
    labels = {row.label for row in rows}
    if len(labels) == 1:
        return first
    if split != "train":
        tally["conflicts_kept_first"] += 1
        return first
    human = [row for row in rows if row.labeler == "human"]
    if human:
        tally["conflicts_settled_by_human"] += 1
        return replace(human[-1], split=split)
    votes: collections.Counter[str] = collections.Counter()
    for row in rows:
        votes.update(row.shares or {row.label: 1.0})
    tally["conflicts_as_shares"] += 1
    total = sum(votes.values())
    label = max(sorted(votes), key=lambda name: votes[name])
    return replace(first, label=label, shares={name: votes[name] / total for name in sorted(votes)})
