"""Labelled rows from live traffic, and how they join the data that a model was first trained on.

`models/<name>/live.jsonl` holds every row ever taken from the decision log, with the split and the round in which it
came; neither ever changes, unless a person drops a round. Only the uniform sample of requests goes to dev, calibration
and test; whatever was selected, by the policy, by a person or for being hard, goes to train.
"""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.common import jsonl
from inference.common.files import private_folder, write_atomically
from inference.common.text import canonical
from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from training.data.dataset import Dataset
from training.data.rows import Row, text_key, to_record
from training.data.splits import SPLITS, pick

SAMPLE_SHARES = (0.0, 0.20, 0.55, 0.25)  # of the uniform sample, over dataset.SPLITS
DAY_ZERO_SAMPLE = 0.45  # while a teacher answers everything, this share of all requests, by a hash of their id
DAY_S = 86_400.0
LATE_DAYS = 7.0
DROPPED = "dropped"  # the split of rows whose labels turned out wrong: they stay known, and neither train nor judge
FORGOTTEN = "forgotten"  # the split of rows whose text was deleted: they only count requests, and stay known


@dataclass(frozen=True)
class LiveRow:
    """One labelled query from traffic. `requests` counts how many sampled requests it stands for; `round` 1, 2, …"""

    key: str
    text: str
    label: str
    labeler: str
    prompt_id: str
    split: str
    round: int
    time: float
    requests: int = 1
    shares: dict[str, float] | None = None

    def __post_init__(self) -> None:
        # Logs and files of earlier versions have labels as they were written.
        object.__setattr__(self, "label", canonical(self.label))


@dataclass
class Harvest:
    """What a log holds that is new. `unanswered` are texts that still need a teacher, with whether they are sampled."""

    rows: list[LiveRow] = field(default_factory=list)
    repeats: collections.Counter[str] = field(default_factory=collections.Counter)
    unanswered: dict[str, bool] = field(default_factory=dict)
    tally: collections.Counter[str] = field(default_factory=collections.Counter)


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


def drop_round(home: Path, number: int) -> int:
    """Stop using the teachers' labels of a round, and return how many they were. What people said stays."""
    rows = read_live(home)
    gone = {row.key for row in in_use(rows) if row.round == number and not _human(row)}
    write_live(home, [replace(row, split=DROPPED) if row.key in gone else row for row in rows])
    return len(gone)


def in_use(rows: Iterable[LiveRow]) -> list[LiveRow]:
    """The rows that train or judge."""
    return [row for row in rows if row.split not in (DROPPED, FORGOTTEN)]


def harvest(log: DecisionLog, known: Sequence[LiveRow], since: float, until: float, number: int, salt: str) -> Harvest:
    """What the log holds up to `until` that `known` does not, as rows of round `number`.

    It was harvested up to `since` before. Rows may reach a log long after their time, from a spill file for one, so a
    week before that is looked at again; repeats of known rows count from `since` on.
    """
    found, counted_from, since = Harvest(), since, max(0.0, since - LATE_DAYS * DAY_S)
    seen = {row.key: row for row in known}
    decisions = {decision.id: decision for decision in log.read_decisions(since, until)}
    answers: dict[str, list[TeacherAnswer]] = collections.defaultdict(list)
    for answer in log.read_answers(since, until):
        if answer.label is not None:
            answers[text_key(answer.text)].append(answer)
    corrections = {text_key(row.text): row for row in log.read_corrections(since, until)}
    for key, given in answers.items():
        _take_answers(found, seen.get(key), key, given, decisions, number, salt, counted_from)
    fresh = {row.key for row in found.rows}
    for key, correction in corrections.items():
        _take_correction(found, key, correction, fresh | seen.keys(), number)
    answered = answers.keys() | corrections.keys() | seen.keys()
    for decision in decisions.values():
        # All of the sample, not the part of it that the student was unsure of.
        if (decision.source == "fallback" or decision.sampled) and text_key(decision.text) not in answered:
            earlier = found.unanswered.get(decision.text, False)
            found.unanswered[decision.text] = earlier or decision.sampled
    found.tally["never answered"] = len(found.unanswered)
    return found


def _take_answers(
    found: Harvest,
    known: LiveRow | None,
    key: str,
    given: Sequence[TeacherAnswer],
    decisions: dict[str, Decision],
    number: int,
    salt: str,
    counted_from: float,
) -> None:
    sampled = [answer for answer in given if _in_sample(answer, decisions.get(answer.request_id), salt)]
    if known is not None:
        new = sum(answer.time >= counted_from for answer in sampled)
        found.repeats[key] += new if known.split != "train" else 0
        found.tally["labelled before"] += 1
        return
    split = pick(key, SAMPLE_SHARES, salt) if sampled else "train"
    first = (sampled or given)[0]
    votes = collections.Counter(canonical(str(answer.label)) for answer in given)
    shares = {name: count / votes.total() for name, count in sorted(votes.items())}
    found.tally["of the uniform sample" if sampled else "deferred and answered"] += 1
    row = LiveRow(
        key,
        first.text,
        # Judging rows keep the first answer; training rows may weigh several.
        str(first.label) if sampled else votes.most_common(1)[0][0],
        first.teacher,
        first.prompt_id,
        split,
        number,
        first.time,
        max(1, len(sampled)),
        shares if split == "train" and len(shares) > 1 else None,
    )
    found.rows.append(row)


def _in_sample(answer: TeacherAnswer, decision: Decision | None, salt: str) -> bool:
    """Whether an answer belongs to a uniform sample of requests: the policy's own, or that of day zero."""
    if answer.sampled:
        return True
    if decision is None or decision.bundle_id is not None:
        return False
    return pick(answer.request_id, (1 - DAY_ZERO_SAMPLE, DAY_ZERO_SAMPLE, 0.0, 0.0), salt) == "dev"


def _take_correction(found: Harvest, key: str, correction: Correction, taken: set[str], number: int) -> None:
    """A person's word goes to train, under a key of its own where the query is known already: there people win."""
    found.tally["corrected by a person"] += 1
    own = f"{key}:human" if key in taken else key
    row = LiveRow(own, correction.text, correction.intent, "human", "", "train", number, correction.time)
    found.rows.append(row)


def compose(
    base: Dataset | None, live: Sequence[LiveRow], folder: Path, least_calibration: int, half_life_days: float,
    human_weight: float,
) -> None:  # fmt: skip
    """Write the data of a training run: a folder with a file per split and the taxonomy.

    The uniform sample judges as soon as it holds `least_calibration` requests for calibration; until then the base data
    does. Never both: a certificate has one reference and one population.
    """
    private_folder(folder)
    judged_live = base is None or calibration_requests(live) >= least_calibration
    newest = max((row.time for row in live), default=time.time())
    splits: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    for row in base.rows if base else ():
        if row.split == "train" or not judged_live:
            splits[row.split].append(to_record(row))
    for item in live:
        if item.split == "train":
            weight = 0.5 ** ((newest - item.time) / DAY_S / half_life_days) if half_life_days else 1.0
            splits["train"].append({**_live_record(item), "weight": weight * (human_weight if _human(item) else 1.0)})
        elif judged_live:
            splits[item.split].append(_live_record(item))
    for name, records in splits.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def per_request(data: Dataset) -> Dataset:
    """The data with a row for every sampled request that a composed one stands for."""
    rows: list[Row] = []
    for row in data.rows:
        times = row.extra.get("requests", 0)
        rows += [replace(row, request=f"{row.id}:{n}") for n in range(times)] or [row]
    return replace(data, rows=tuple(rows))


def calibration_requests(live: Iterable[LiveRow]) -> int:
    """How many sampled requests the calibration rows stand for."""
    return sum(row.requests for row in live if row.split == "calibration")


def held_out(base: Dataset | None, live: Sequence[LiveRow], before: int, suspect: Sequence[int] = ()) -> list[Row]:
    """Rows labelled before round `before` on which no student was trained: where a challenger meets the champion.

    Rows of the rounds in `suspect` are left out.

    Calibration rows count as well as test rows. They choose thresholds, not intents, and what is published does not
    weaken a certificate: every version of the lineage has paid for its own, whether it is published or not.
    """
    trained = {text_key(row.text) for row in live if row.split == "train"}
    own = [row for row in base.rows if row.split != "train"] if base else []
    own += [_to_row(row) for row in live if row.split != "train" and row.round < before and row.round not in suspect]
    return [row for row in own if row.key not in trained]


def _to_row(row: LiveRow) -> Row:
    return Row(id=row.key, text=row.text, label=row.label, labeler=row.labeler, split=row.split)


def _human(row: LiveRow) -> bool:
    return row.labeler == "human"


def _live_record(row: LiveRow) -> dict[str, Any]:
    values = {"id": row.key, "text": row.text, "label": row.label, "labeler": row.labeler, "round": row.round}
    if row.prompt_id:
        values["prompt_id"] = row.prompt_id
    if row.split != "train":
        values["requests"] = row.requests
    return {**values, **({"shares": row.shares} if row.shares else {})}
