import collections
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.size import made, measured, recall, recalls, write
from training.data.duplicates import near_groups, pairs_within

SEEDS = [
    (f"{verb} the {thing} {when}", verb)
    for verb in ("open", "close")
    for thing in ("account", "gate")
    for when in ("now", "later today")
]


def test_rows_are_distinct_and_half_of_them_come_from_templates() -> None:
    rows = list(made(200, SEEDS))
    assert len({row["text"] for row in rows}) == 200
    kinds = collections.Counter(row["label"].startswith("template") for row in rows)
    assert kinds[True] == kinds[False] == 100
    assert rows == list(made(200, SEEDS))


def test_recall_is_the_share_of_the_exact_pairs_in_one_group() -> None:
    texts = [row["text"] for row in made(120, SEEDS)]
    pairs, groups = pairs_within(texts, np.zeros(120, int)), near_groups(texts)
    drawn = [int(i) for i in pairs[:3, 0]]
    assert (groups[pairs[:, 0]] == groups[pairs[:, 1]]).all()
    assert recall(texts, drawn, groups) == 1.0
    near = {int(j) for pair in pairs for i, j in (pair, pair[::-1]) if i == drawn[0]}
    parted = np.arange(120)
    parted[[drawn[0], min(near)]] = 0
    assert recall(texts, drawn[:1], parted) == pytest.approx(1 / len(near))


def test_a_folder_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", 150, SEEDS)
    assert sum(1 for _ in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())) == 150
    cost = measured(folder, 150)
    assert (cost.rows, cost.seconds > 0, cost.processor > 0, cost.megabytes > 10) == (150, True, True, True)
    assert recalls(folder) == {"edits": 1.0, "templates": 1.0}
