"""`models/<name>/live.jsonl`: every labelled row that was ever taken from the decision log.

A row is one of two kinds. A sampled REQUEST (`request` is its row's id in the log) belongs to dev, calibration or test
by the low digits of its random number, and judges: its text may train through other requests, as future traffic repeats
training texts just as often. Whatever was selected, by the policy, by a person or for being hard, is a row by TEXT and
trains. Splits never change, unless a person drops a round or a text is forgotten.

Before 0.3.0 the sample was split by text. Such rows (a judging split and no `request`) keep their split; they are no
sample of requests, so they calibrate nothing, and are held out for the gate alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.common import jsonl
from inference.common.files import write_atomically
from inference.common.text import canonical

SHARES = {"dev": 0.20, "calibration": 0.55, "test": 0.25}  # of the sampled requests
DROPPED = "dropped"  # the split of a text whose labels turned out wrong: it is unknown again
FORGOTTEN = "forgotten"  # the split of a row whose text was deleted: it is counted, and neither trains nor judges
HUMAN = "human"
UNANSWERED, REFUSED = "unanswered", "refused"  # why a sampled request has no label
_LOW_DIGITS = 2.0**32


@dataclass(frozen=True)
class LiveRow:
    """One labelled query from traffic: a sampled request, or a text that trains. `round` counts 1, 2, …

    `label` is "" where a sampled request has none: with `why` "refused" the teacher declined to answer, with
    "unanswered" nobody was asked. `number` and `rate` are the request's own in the log, `question` the id of the
    taxonomy's question that the label answers; "" is that of the first bundle.
    """

    key: str
    text: str
    label: str
    labeler: str
    prompt_id: str
    split: str
    round: int
    time: float
    requests: int = 1  # of before 0.3.0
    shares: dict[str, float] | None = None
    request: str = ""
    number: float | None = None
    rate: float | None = None
    epoch: str = ""
    question: str = ""
    why: str = ""

    def __post_init__(self) -> None:
        # Logs and files of earlier versions have labels as they were written.
        object.__setattr__(self, "label", canonical(self.label))

    @property
    def identity(self) -> str:
        """What no two rows share."""
        return self.request or self.key

    @property
    def human(self) -> bool:
        """Whether a person labelled it."""
        return self.labeler == HUMAN

    @property
    def judges_by_text(self) -> bool:
        """Whether it is of a sample of before 0.3.0."""
        return not self.request and self.split in SHARES


def split_of(numbers: np.ndarray | float) -> np.ndarray:
    """The splits of sampled requests by their random numbers in [0, 1): by the low digits, so that a sample that is
    thinned to the requests under a lower rate keeps its shares.
    """
    low = np.asarray(numbers, dtype=float) * _LOW_DIGITS % 1.0
    return np.array(list(SHARES))[np.searchsorted(np.cumsum(list(SHARES.values()))[:-1], low, side="right")]


def read_live(home: Path) -> list[LiveRow]:
    """The rows kept so far. Raises ValueError, naming the line, if the file is damaged."""
    path = home / "live.jsonl"
    if not path.is_file():
        return []
    try:
        return [_live_row(place, values) for place, values in jsonl.read(path)]
    except ValueError as error:
        raise ValueError(f"{error}; restore it from a backup: its splits must not change") from error


def _live_row(place: str, values: dict[str, Any]) -> LiveRow:
    try:
        return LiveRow(**values)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{place}: expected a row of live.jsonl: {error}") from error


def write_live(home: Path, rows: Iterable[LiveRow]) -> None:
    """Replace the file whole."""
    text = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    write_atomically(home / "live.jsonl", text.encode(), private=True)


def drop_round(home: Path, number: int, now: float) -> int:
    """Stop using the teachers' labels of a round, and return how many they were. What people said stays.

    A dropped text is unknown again from `now` on, a dropped request of the sample is asked about again.
    """
    rows = read_live(home)
    gone = [row for row in in_use(rows) if row.round == number and not row.human and row.why != UNANSWERED]
    dropped = {row.identity: _dropped(row, now) for row in gone}
    write_live(home, [dropped.get(row.identity, row) for row in rows])
    return len(gone)


def _dropped(row: LiveRow, now: float) -> LiveRow:
    if row.request:
        return replace(row, label="", why=UNANSWERED)
    return replace(row, split=DROPPED, time=now)


def in_use(rows: Iterable[LiveRow]) -> list[LiveRow]:
    """The rows that train or judge."""
    return [row for row in rows if row.split not in (DROPPED, FORGOTTEN)]
