import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.redact import load_redactor
from tests.tiny import tiny_rows
from training.data.advice import shortfall
from training.data.dataset import load, target_matrix
from training.data.looks import BaseLooks
from training.data.rows import Row, text_key, to_record
from training.data.sizes import Goal
from training.data.splits import SPLITS
from training.dataset import main


def folder(path: Path, rows: Iterable[dict[str, object]], name: str = "queries") -> Path:
    path.mkdir(exist_ok=True)
    (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def splits_of(path: Path) -> dict[str, str]:
    return {row.text: row.split for row in load(str(path)).rows}


def test_a_row_never_changes_split_when_others_come_or_lines_move(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    path = folder(tmp_path / "d", rows[::2])
    before = splits_of(path)
    folder(path, rows[::-1])
    after = splits_of(path)
    assert {text: after[text] for text in before} == before


def test_the_order_of_lines_does_not_matter(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    a, b = folder(tmp_path / "a", rows), folder(tmp_path / "b", rows[::-1])
    # The salt is the folder's name otherwise.
    (b / "splits.json").write_text('{"salt": "a", "splits": {}, "shares": {}, "reserved": []}')
    assert load(str(a)).id() == load(str(b)).id()


def conflict(path: Path, split: str, labelers: list[str]) -> Row:
    """The row that is left of three contradicting answers to one query of the given split."""
    rows: list[dict[str, object]] = [{**row, "split": split} for row in tiny_rows()]
    stay = [{**row, "split": SPLITS[i % 4]} for i, row in enumerate(rows)]
    answers = [("account", labelers[0]), ("payments", labelers[1]), ("payments", labelers[2])]
    clash = [{"text": "the odd one out", "label": label, "labeler": who, "split": split} for label, who in answers]
    found = [row for row in load(str(folder(path, [*stay, *clash]))).rows if row.text == "the odd one out"]
    assert len(found) == 1
    return found[0]


def test_conflicts_in_train_become_vote_shares(tmp_path: Path) -> None:
    row = conflict(tmp_path / "d", "train", ["author"] * 3)
    assert row.label == "payments"
    assert row.shares == pytest.approx({"account": 1 / 3, "payments": 2 / 3})


def test_a_person_settles_a_conflict_in_train(tmp_path: Path) -> None:
    row = conflict(tmp_path / "d", "train", ["human", "m", "m"])
    assert (row.label, row.shares) == ("account", None)


@pytest.mark.parametrize("split", ["calibration", "test", "dev"])
def test_outside_train_the_first_answer_stays_even_against_a_person(tmp_path: Path, split: str) -> None:
    row = conflict(tmp_path / "d", split, ["m", "human", "human"])
    assert (row.label, row.shares, row.split) == ("account", None, split)


def test_a_copy_of_a_test_row_leaves_train(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    path = folder(tmp_path / "d", rows[:300], "train")
    folder(path, rows[300:], "test")
    folder(path, [*rows[:300], {**rows[300], "text": str(rows[300]["text"]).upper()}], "train")
    data = load(str(path))
    assert data.tally["leaks"] == 1
    assert rows[300]["text"] in {row.text for row in data.split("test")}


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


def test_an_intent_without_a_training_row_is_a_warning(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{**row, "split": SPLITS[i % 4]} for i, row in enumerate(tiny_rows())]
    rows = [row for row in rows if row["label"] != "unknown" or row["split"] != "train"]
    data = load(str(folder(tmp_path / "d", rows)))
    assert data.never_accepted == ("unknown",)
    assert any("no training row: unknown" in warning for warning in data.warnings)


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


def test_texts_are_redacted_before_they_are_merged_and_linked(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    mails: list[dict[str, object]] = [{"text": f"mail person{n}@example.org", "label": "account"} for n in range(90)]
    data = load(str(folder(tmp_path / "d", rows + mails)), load_redactor("builtin"))
    assert len([row for row in data.rows if row.text.startswith("mail")]) == 1
    assert data.tally["duplicates"] == 89


def test_redacting_later_moves_no_row_and_neither_does_reading_without_it(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    words = ("fax", "whatever else", "my new home", "sun", "giraffe", "eleven", "quickly", "below", "umbrella", "jam")
    rows += [{"text": f"{word}: ann{n}@example.org", "label": "account"} for n, word in enumerate(words)]
    path = folder(tmp_path / "d", rows)
    plain = {row.id: row.split for row in load(str(path)).rows}
    redacted = {row.id: row.split for row in load(str(path), load_redactor("builtin")).rows}
    assert redacted == plain
    assert {row.id: row.split for row in load(str(path)).rows} == plain


def near_duplicates(count: int, label: str, text: str) -> list[dict[str, object]]:
    return [{"text": f"please look at {text} with the number {n:04}", "label": label} for n in range(count)]


def test_a_group_of_near_duplicates_is_one_trial_and_a_live_request_is_one_of_its_own(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    path = folder(tmp_path / "d", rows + near_duplicates(40, "payments", "the monthly statement of my firm"))
    data = load(str(path))
    (split,) = {row.split for row in data.rows if row.text.startswith("please look")}
    drawn = [row for row in data.trials(split) if row.text.startswith("please look")]
    assert len(drawn) == 1
    assert any("40 near-duplicates of 'please look" in warning for warning in data.warnings) is False  # under a tenth
    live = replace(data, rows=tuple(replace(row, request=row.id) for row in data.rows))
    assert len(live.trials(split)) == len(data.split(split))
    assert (data.unit, live.unit) == ("groups of near-duplicates", "requests")


def test_the_trial_of_a_group_does_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    rows += near_duplicates(40, "payments", "the monthly statement of my firm")
    path = folder(tmp_path / "d", rows)
    before = [{row.text for row in load(str(path)).trials(split)} for split in SPLITS]
    folder(path, rows[::-1])
    assert [{row.text for row in load(str(path)).trials(split)} for split in SPLITS] == before


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
    assert re.search(
        r"0 calibration rows .* cannot certify 95.0%: at least 7\d are needed. About 1\d\d more .*\$0.02", said
    )
    enough = load(str(folder(tmp_path / "e", [dict(row) for row in tiny_rows()])))
    assert shortfall(enough, Goal(), "DATA") is None
    assert "are missing" in str(shortfall(enough, Goal(0.99), "DATA"))


def test_rows_that_come_to_small_data_calibrate_once_there_are_enough(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    before = splits_of(folder(tmp_path / "d", rows[:150]))
    data = load(str(folder(tmp_path / "d", rows)))
    assert {row.text: row.split for row in data.rows if row.text in before} == before
    assert not {row.text for row in data.split("calibration")} & before.keys()
    assert len(data.split("calibration")) > 50
    assert data.tally["reserved_for_training"] == list(before.values()).count("train")


def test_a_refused_request_judges_and_never_trains(tmp_path: Path) -> None:
    data = load(str(folder(tmp_path / "d", [dict(row) for row in tiny_rows()])))
    refused = Row("r", "what the teacher refused", "", split="calibration", request="r")
    assert refused in replace(data, rows=(*data.rows, refused)).trials("calibration")
    with pytest.raises(ValueError, match="without a label cannot train"):
        replace(data, rows=(*data.rows, replace(refused, split="train")))


def test_a_column_named_request_or_group_is_the_users_own(tmp_path: Path) -> None:
    mine = {"request": None, "requests": "many", "group": 3}
    data = load(str(folder(tmp_path / "d", [{**row, **mine} for row in tiny_rows()])))
    assert {row.request for row in data.rows} == {""}
    assert all(row.extra == mine for row in data.rows)
    assert all(to_record(row)["requests"] == "many" and to_record(row)["group"] == 3 for row in data.rows)


def test_dividing_anew_keeps_the_old_splits_and_begins_a_new_lineage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    before = splits_of(path)
    old = (path / "splits.json").read_bytes()
    BaseLooks(path, after=4).spend(0.05, "a model")
    assert main([str(path), "--resplit"]) == 0
    assert "count from 1 again" in capsys.readouterr().out
    assert (path / "splits.json.1").read_bytes() == old
    assert (path / "looks.json.1").is_file()
    assert BaseLooks(path, after=4).spend(0.05, "another model").number == 1
    changed = sum(before[text] != split for text, split in splits_of(path).items())
    assert changed > len(before) / 4
    assert main([str(path), "--resplit"]) == 0
    assert (path / "splits.json.2").is_file()


def test_a_read_only_folder_is_left_alone(tmp_path: Path) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    path.chmod(0o555)
    try:
        load(str(path), fallback=tmp_path / "elsewhere")
    finally:
        path.chmod(0o755)
    assert not (path / "splits.json").exists()
    assert (tmp_path / "elsewhere" / "splits.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"salt": "a"}'])
def test_a_damaged_splits_file_stops_the_run(tmp_path: Path, content: bytes) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    (path / "splits.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"splits\.json is damaged"):
        load(str(path))


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 distinct rows are too few: the split"):
        load(str(folder(tmp_path / "d", [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}])))


def test_the_reference_is_that_of_the_calibration_rows(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{**row, "split": SPLITS[i % 4]} for i, row in enumerate(tiny_rows())]
    for row in rows:
        row["labeler"] = "author" if row["split"] == "calibration" else "some-model"
    data = load(str(folder(tmp_path / "a", rows)))
    assert (data.reference, data.teacher) == ("gold", None)
    for i, row in enumerate([row for row in rows if row["split"] == "calibration"]):
        row |= {"labeler": f"model-{i % 2}", "prompt_id": "p"}
    data = load(str(folder(tmp_path / "b", rows)))
    count = len(data.split("calibration"))
    assert data.reference == "teacher"
    models = {"model-0": (count + 1) // 2, "model-1": count // 2}
    assert data.teacher == {"models": models, "prompt_ids": {"p": count}}


def test_targets_are_one_hot_or_shares() -> None:
    rows = [Row("1", "x", "b"), Row("2", "y", "a", shares={"a": 0.5, "b": 0.5})]
    assert target_matrix(rows, ["a", "b"]).tolist() == [[0, 1], [0.5, 0.5]]


def test_the_command_prints_the_figures(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_data)]) == 0
    printed = capsys.readouterr().out
    for word in ("rows", "words per row", "near duplicates", "calibration", "payments", "content id"):
        assert word in printed
    assert main(["no/such.jsonl"]) == 2
    assert "no such file" in capsys.readouterr().err
