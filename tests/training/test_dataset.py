import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.redact import load_redactor
from tests.tiny import tiny_rows
from training.data.dataset import load
from training.data.rows import Row, to_record
from training.data.splits import SPLITS
from training.dataset import main


def folder(path: Path, rows: Iterable[dict[str, object]], name: str = "queries") -> Path:
    path.mkdir(exist_ok=True)
    (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def near_duplicates(count: int, label: str, text: str) -> list[dict[str, object]]:
    return [{"text": f"please look at {text} with the number {n:04}", "label": label} for n in range(count)]


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


def test_an_intent_without_a_training_row_is_a_warning(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{**row, "split": SPLITS[i % 4]} for i, row in enumerate(tiny_rows())]
    rows = [row for row in rows if row["label"] != "unknown" or row["split"] != "train"]
    data = load(str(folder(tmp_path / "d", rows)))
    assert data.never_accepted == ("unknown",)
    assert any("no training row: unknown" in warning for warning in data.warnings)


def test_texts_are_redacted_before_they_are_merged_and_linked(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    mails: list[dict[str, object]] = [{"text": f"mail person{n}@example.org", "label": "account"} for n in range(90)]
    data = load(str(folder(tmp_path / "d", rows + mails)), load_redactor("builtin"))
    assert len([row for row in data.rows if row.text.startswith("mail")]) == 1
    assert data.tally["duplicates"] == 89


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


def test_the_command_prints_the_figures(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_data)]) == 0
    printed = capsys.readouterr().out
    for word in ("rows", "words per row", "near duplicates", "calibration", "payments", "content id"):
        assert word in printed
    assert main(["no/such.jsonl"]) == 2
    assert "no such file" in capsys.readouterr().err
