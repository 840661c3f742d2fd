import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.tiny import tiny_rows
from training.data.dataset import load, target_matrix
from training.data.rows import Row
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
    (b / "splits.json").write_text('{"salt": "a", "splits": {}}')  # the salt is the folder's name otherwise
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


def test_a_val_file_is_halved_and_a_train_file_gives_up_a_part(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    halved = folder(tmp_path / "a", rows[:200], "train")
    folder(halved, rows[200:400], "val")
    folder(halved, rows[400:], "test")
    sizes = {name: len(load(str(halved)).split(name)) for name in SPLITS}
    assert sizes["train"] == 200
    assert sizes["dev"] + sizes["calibration"] == 200
    assert min(sizes["dev"], sizes["calibration"]) > 50
    held_out = folder(tmp_path / "b", rows[:350], "train")
    folder(held_out, rows[350:], "test")
    sizes = {name: len(load(str(held_out)).split(name)) for name in SPLITS}
    assert sizes["train"] > 4 * (sizes["dev"] + sizes["calibration"])
    assert min(sizes.values()) > 0


@pytest.mark.parametrize("stems", [["train"], ["train", "dev"], ["train", "dev", "test"], ["train", "calibration"]])
def test_whatever_files_there_are_every_split_gets_rows(tmp_path: Path, stems: list[str]) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    for i, stem in enumerate(stems):
        folder(tmp_path / "d", rows[:300] if i == 0 else rows[300 + 40 * i : 340 + 40 * i], stem)
    data = load(str(tmp_path / "d"))
    assert all(data.split(name) for name in SPLITS)
    for i, stem in enumerate(stems[1:], 1):
        assert len(data.split(stem)) == len(rows[300 + 40 * i : 340 + 40 * i])


def test_a_rare_intent_goes_to_train_alone_and_stays(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    rare: list[dict[str, object]] = [{"text": f"rare bird number {n * 7919}", "label": "rare"} for n in range(5)]
    path = folder(tmp_path / "d", rows + rare)
    data = load(str(path))
    assert {row.split for row in data.rows if row.label == "rare"} == {"train"}
    assert any("rare" in warning for warning in data.warnings)
    more = [{"text": f"unlike {n * 104729} any other", "label": "rare"} for n in range(40)]
    folder(path, rows + rare + more)
    after = splits_of(path)
    assert {after[str(row["text"])] for row in rare} == {"train"}


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
    with pytest.raises(ValueError, match="are too few: the split"):
        load(str(folder(tmp_path / "d", [dict(row) for row in tiny_rows()[:3]] + [{"text": "x", "label": "b"}])))


def test_reference_is_the_teacher_as_soon_as_a_teacher_labelled(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [dict(row) for row in tiny_rows()]
    assert load(str(folder(tmp_path / "a", rows))).reference == "gold"
    rows[0]["labeler"] = "some-model"
    assert load(str(folder(tmp_path / "b", rows))).reference == "teacher"


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
