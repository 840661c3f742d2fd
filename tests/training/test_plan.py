import json
import re
from pathlib import Path

import pytest

from inference.bundle.redact import load_redactor
from tests.tiny import tiny_rows
from tests.training.test_dataset import folder, near_duplicates, splits_of
from training.data.advice import shortfall
from training.data.dataset import load
from training.data.rows import text_key
from training.data.sizes import Goal
from training.data.splits import SPLITS


def test_a_val_file_is_divided_and_a_train_file_gives_up_a_part(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    divided = folder(tmp_path / "a", rows[:200], "train")
    folder(divided, rows[200:400], "val")
    folder(divided, rows[400:], "test")
    sizes = {name: len(load(str(divided)).split(name)) for name in SPLITS}
    assert sizes["train"] == 200
    assert sizes["dev"] + sizes["calibration"] == 200
    assert sizes["calibration"] > sizes["dev"] > 20
    held_out = folder(tmp_path / "b", rows[:350], "train")
    folder(held_out, rows[350:], "test")
    sizes = {name: len(load(str(held_out)).split(name)) for name in SPLITS}
    assert sizes["train"] > sizes["calibration"] > sizes["dev"] > 0
    assert sizes["test"] == len(rows) - 350


@pytest.mark.parametrize("stems", [["train"], ["train", "dev"], ["train", "dev", "test"], ["train", "calibration"]])
def test_whatever_files_there_are_every_split_gets_rows(tmp_path: Path, stems: list[str]) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    for i, stem in enumerate(stems):
        folder(tmp_path / "d", rows[:300] if i == 0 else rows[300 + 40 * i : 340 + 40 * i], stem)
    data = load(str(tmp_path / "d"))
    assert all(data.split(name) for name in SPLITS)
    for i, stem in enumerate(stems[1:], 1):
        assert len(data.split(stem)) == len(rows[300 + 40 * i : 340 + 40 * i])


def test_a_rare_intent_is_split_like_all_others_and_never_accepted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    rare: list[dict[str, object]] = [
        {"text": f"{word} is unlike {n * 7919}", "label": f"rare{n % 20}"}
        for n, word in enumerate(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota"] * 10)
    ]
    data = load(str(folder(tmp_path / "d", rows + rare)))
    found = [row.split for row in data.rows if row.label.startswith("rare")]
    assert {found.count(split) > 0 for split in SPLITS} == {True}
    assert len(data.never_accepted) == 20
    assert any("never accepted" in warning and "rare7" in warning for warning in data.warnings)
    assert not data.tally["reserved_for_training"]


def test_rows_that_an_older_version_kept_for_training_stay_there_and_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    rare: list[dict[str, object]] = [{"text": f"rare bird number {n * 7919}", "label": "rare"} for n in range(5)]
    path = folder(tmp_path / "d", rows + rare)
    old = {text_key(str(row["text"])): "train" if row in rare else SPLITS[i % 4] for i, row in enumerate(rows + rare)}
    (path / "splits.json").write_text(json.dumps({"salt": "d", "splits": old}))
    more = [{"text": f"unlike {n * 104729} any other", "label": "rare"} for n in range(40)]
    for _ in range(2):  # what is counted once stays counted, though the intent is rare no longer
        data = load(str(folder(path, rows + rare + more)))
        assert {row.text: row.split for row in data.rows if row.key in old} == {
            str(row["text"]): old[text_key(str(row["text"]))] for row in rows + rare
        }
        assert data.tally["reserved_for_training"] == 5
        assert any(warning.startswith("5 rows (") for warning in data.warnings)


def test_redacting_later_moves_no_row_and_neither_does_reading_without_it(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    words = ("fax", "whatever else", "my new home", "sun", "giraffe", "eleven", "quickly", "below", "umbrella", "jam")
    rows += [{"text": f"{word}: ann{n}@example.org", "label": "account"} for n, word in enumerate(words)]
    path = folder(tmp_path / "d", rows)
    plain = {row.id: row.split for row in load(str(path)).rows}
    redacted = {row.id: row.split for row in load(str(path), load_redactor("builtin")).rows}
    assert redacted == plain
    assert {row.id: row.split for row in load(str(path)).rows} == plain


@pytest.mark.parametrize("name", ["a", "b", "c", "d", "e", "f", "g", "h"])
def test_nothing_fails_for_the_name_of_the_folder_where_a_few_templates_are_all_the_data(
    tmp_path: Path, name: str
) -> None:
    rows = near_duplicates(30, "payments", "the monthly statement of my firm")
    rows += near_duplicates(60, "account", "a stolen card from yesterday evening")
    rows += near_duplicates(10, "unknown", "volcanoes of the southern hemisphere")
    data = load(str(folder(tmp_path / name, rows)))
    assert all(data.split(split) for split in ("train", "dev", "test"))
    assert any("60 near-duplicates" in warning and "account" in warning for warning in data.warnings)


def test_near_duplicates_in_two_files_stay_and_are_counted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    alike = near_duplicates(20, "payments", "the monthly statement of my firm")
    path = folder(tmp_path / "d", rows[:300] + alike[:15], "train")
    folder(path, rows[300:] + alike[15:], "test")
    data = load(str(path))
    assert {row.text for row in data.split("test")} >= {row["text"] for row in alike[15:]}
    assert any("training rows are near-duplicates of test rows" in warning for warning in data.warnings)


def test_in_small_data_nothing_calibrates_and_what_is_missing_is_said_with_its_price(tmp_path: Path) -> None:
    data = load(str(folder(tmp_path / "d", [dict(row) for row in tiny_rows()[:60]])))
    assert not data.split("calibration")
    assert len(data.split("train")) > 40
    said = shortfall(data, Goal(), "DATA")
    assert said is not None
    assert re.match("0 calibration rows .* cannot certify 95.0%: at least 7. are needed", said)
    assert re.search(r"about 1\d\d more labels, \$0.02 from Claude Haiku 5.5; then .* --resplit", said)
    enough = load(str(folder(tmp_path / "e", [dict(row) for row in tiny_rows()])))
    assert shortfall(enough, Goal(), "DATA") is None
    assert "What is missing" in str(shortfall(enough, Goal(0.99), "DATA"))


def test_rows_that_come_to_small_data_calibrate_once_there_are_enough(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    before = splits_of(folder(tmp_path / "d", rows[:150]))
    data = load(str(folder(tmp_path / "d", rows)))
    assert {row.text: row.split for row in data.rows if row.text in before} == before
    assert not {row.text for row in data.split("calibration")} & before.keys()
    assert len(data.split("calibration")) > 50
    assert data.tally["reserved_for_training"] == list(before.values()).count("train")
