"""The data of a round: base data and live rows together."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from inference.bundle.taxonomy import Taxonomy
from inference.log.counts import DAY_S
from training.data.dataset import Dataset, warnings_of_intents
from training.data.duplicates import near_groups
from training.data.linking import link
from training.data.rows import Row
from training.lifecycle.gate import MIN_ROWS
from training.lifecycle.live import LiveRow
from training.lifecycle.window import Sample

MOST_ROWS = 6_000  # requests that the gate asks champion, anchor and challenger about


def compose(
    base: Dataset | None,
    rows: Sequence[LiveRow],
    sample: Sample | None,
    taxonomy: Taxonomy,
    half_life_days: float = 0.0,
    human_weight: float = 1.0,
) -> Dataset:
    """What a round trains on and is judged by: the sample if one is given, else the base data's own splits.

    Never both: a certificate has one reference and one population. A text may train and be a request of the sample, as
    future traffic repeats training texts just as often; what is near a judging row of the base data never trains. An
    intent of which the sample's dev and test hold no request is never accepted as an answer: chosen by the calibration
    requests it would drop the errors of answers with that intent, and keep the intents that were right by luck.
    """
    own = list(base.rows) if base else []
    judges = [request_row(row) for row in sample.rows] if sample else [row for row in own if row.split != "train"]
    newest = max((row.time for row in rows), default=time.time())
    live = [
        replace(text_row(row), weight=_weight(row, newest, half_life_days, human_weight))
        for row in rows
        if row.split == "train" and row.label in taxonomy.names and set(row.shares or ()) <= set(taxonomy.names)
    ]
    kept = live if sample else _apart(live, judges)
    train = _settled([row for row in own if row.split == "train"], kept)
    tally = {"base rows": len(own), "live rows that train": len(kept), "leaks": len(live) - len(kept)}
    held = {row.label for row in judges if row.split != "calibration"}
    barred = frozenset(taxonomy.names) - held if sample else frozenset()
    data = Dataset((*train, *judges), taxonomy, tally | (sample.tally if sample else {}), (), barred)
    return replace(data, warnings=tuple(warnings_of_intents(data)))


def _apart(rows: Sequence[Row], judges: Sequence[Row]) -> list[Row]:
    """The rows that are no near-duplicate of a judging one."""
    texts = [row.text for row in (*judges, *rows)]
    numbers = [str(i) for i in range(len(texts))]
    linked = link(numbers, ["judge"] * len(judges) + [""] * len(rows), {}, texts, near_groups(texts))
    near = {number for i in linked.of("judge") for j in linked.near.get(i, ()) for number in linked.units[j]}
    return [row for row, number in zip(rows, numbers[len(judges) :], strict=True) if number not in near]


def _weight(row: LiveRow, newest: float, half_life_days: float, human_weight: float) -> float:
    weight = 0.5 ** ((newest - row.time) / DAY_S / half_life_days) if half_life_days else 1.0
    return weight * (human_weight if row.human else 1.0)


def _settled(base: Iterable[Row], live: Iterable[Row]) -> list[Row]:
    """One row per text: a person's word wins, then the newer one, which is traffic's."""
    found: dict[str, Row] = {}
    for row in [*base, *live]:
        before = found.get(row.key)
        if before is None or before.labeler != "human" or row.labeler == "human":
            found[row.key] = row
    return list(found.values())


def text_row(row: LiveRow) -> Row:
    """A row by text, as training and the gate see it."""
    extra = {"prompt_id": row.prompt_id} if row.prompt_id else {}
    return Row(row.key, row.text, row.label, labeler=row.labeler, shares=row.shares, split=row.split, extra=extra)


def requests(sample: Sample | None) -> list[Row]:
    """The sampled requests that have a label, this round's too: there the champion's promise is kept, or is not."""
    return [request_row(row) for row in sample.rows if row.label] if sample else []


def request_row(row: LiveRow) -> Row:
    """A sampled request, as the certificate and the gate see it."""
    return replace(text_row(row), id=row.request, request=row.request)


def held_out(
    base: Dataset | None,
    rows: Iterable[LiveRow],
    sample: Sample | None,
    before: int,
    suspect: Sequence[int],
    most: int = MOST_ROWS,
    fewest: int = MIN_ROWS,
) -> tuple[list[Row], list[Row]]:
    """Where a challenger meets the champion: the rows that decide, and further ones.

    With a sample its newest `most` requests of rounds before `before` decide: wrong labels of a round would speak for a
    student that was trained on others of them. Base rows, and the sample of before 0.3.0, are further ones then, and
    decide while these requests are fewer than `fewest`, as in the round that brings the first sample. Calibration rows
    count as well as test rows: they choose thresholds, not intents.
    """
    rows = list(rows)
    trained = {row.key.partition(":")[0] for row in rows if row.split == "train"}
    known = [text_row(row) for row in rows if row.judges_by_text and row.round < before and row.round not in suspect]
    texts = [row for row in base.rows if row.split != "train"] if base else []
    texts = [row for row in (*texts, *known) if row.key not in trained]
    if sample is None:
        return texts, []
    requests = [request_row(row) for row in sample.rows if row.round < before][-most:]
    return (requests, texts) if len(requests) >= fewest or len(texts) < fewest else (texts, [])
