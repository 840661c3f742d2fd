import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from training.data.source import Reading, read_source

ROW = {"text": "hi there", "label": "a"}
TWO = [ROW, {"text": "bye", "label": "b"}]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def taxonomy(folder: Path, *names: str) -> None:
    (folder / "taxonomy.toml").write_text("".join(f'[[intents]]\nname = "{name}"\n' for name in names))


def test_a_folder_is_read_by_file_stem(tmp_path: Path) -> None:
    for name in ("train", "val", "Test"):
        rows = [{"text": f"{name} {row['text']}", "label": row["label"]} for row in TWO]
        lines(tmp_path / f"{name}.jsonl", rows)
    lines(tmp_path / "oos_test.JSONL", [{"text": "moon", "label": "oos"}])
    lines(tmp_path / "notes.jsonl", [ROW])
    source = read_source(str(tmp_path))
    splits = {row.text: row.split for row in source.rows}
    assert (splits["moon"], splits["Test bye"], splits["val bye"]) == ("test", "test", "val")
    assert source.taxonomy.names == ("a", "b", "oos")
    assert source.taxonomy.out_of_scope == {"oos"}
    assert source.notes == ("ignored notes.jsonl: not one of the known file names",)


def test_what_a_folder_lacks_is_said(tmp_path: Path) -> None:
    rows = '{"text": "hi", "label": "a"}\n{"text": "bye", "label": "b"}\n'
    (tmp_path / "train-00000-of-00002.jsonl").write_text(rows)
    (tmp_path / "test.csv").write_text("text,label\n")
    (tmp_path / "dev.csv").mkdir()
    (tmp_path / "images").mkdir()
    assert read_source(str(tmp_path)).notes == (
        "ignored dev.csv: a folder",
        "test.csv has no rows",
        "of the 2 parts of train only 1 are there",
    )


@pytest.mark.parametrize("target", ["gone.jsonl", "test.jsonl"])
def test_a_link_that_leads_nowhere_is_an_error_and_no_loss(tmp_path: Path, target: str) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "hi", "label": "a"}\n{"text": "bye", "label": "b"}\n')
    (tmp_path / "test.jsonl").symlink_to(tmp_path / target)
    with pytest.raises(OSError, match=r"test\.jsonl"):
        read_source(str(tmp_path))


def test_parts_of_a_file_are_of_its_split(tmp_path: Path) -> None:
    for number in range(2):
        datasets.Dataset.from_list([TWO[number]]).to_parquet(tmp_path / f"train-0000{number}-of-00002.parquet")
    assert {row.split for row in read_source(str(tmp_path)).rows} == {"train"}


def test_extra_fields_are_kept_and_refusals_counted(tmp_path: Path) -> None:
    rows = [{**ROW, "business": "bank", "shares": {"a": 3}}, {"text": "?", "label": None}, TWO[1]]
    source = read_source(str(lines(tmp_path / "queries.jsonl", rows)))
    assert source.rows[0].extra == {"business": "bank", "shares": {"a": 3}}
    assert (source.unlabelled, len(source.rows)) == (1, 2)


def test_labels_that_only_look_different_are_one_and_counted(tmp_path: Path) -> None:
    labels = ["caf\u00e9", "cafe\u0301 ", "\tcaf\u00e9\u200b", "\ufeffcaf\u00e9", "b"]
    rows: list[dict[str, Any]] = [
        {"text": f"text {n}", "label": label, "monoku_gold": label} for n, label in enumerate(labels)
    ]
    rows[4]["monoku_shares"] = {"b": 1, "b ": 1, "cafe\u0301": 2}
    source = read_source(str(lines(tmp_path / "queries.jsonl", rows)))
    assert source.taxonomy.names == ("b", "caf\u00e9")
    assert {row.label for row in source.rows} == {row.gold for row in source.rows} == {"b", "caf\u00e9"}
    assert source.rows[4].shares == {"b": 0.5, "caf\u00e9": 0.5}
    assert source.counts() == {"read": 5, "unlabelled": 0, "labels_respelled": 3}


def test_a_taxonomy_settles_upper_and_lower_case_and_without_one_both_places_are_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "queries.jsonl", [*TWO, {"text": "once more", "label": "B"}])
    message = rf"'b' \({path}:2\) and 'B' \({path}:3\) differ in upper and lower case alone: write one"
    with pytest.raises(ValueError, match=message):
        read_source(str(tmp_path))
    taxonomy(tmp_path, "A", "b")
    source = read_source(str(tmp_path))
    assert [row.label for row in source.rows] == ["A", "b", "b"]
    assert source.respelled == 2


def test_one_intent_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="all rows have the label 'a'; a classifier needs at least two"):
        read_source(str(lines(tmp_path / "queries.jsonl", [ROW, {**ROW, "text": "again"}])))


def many(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"message {n}", "label": "ab"[n % 2], **more} for n in range(count)]


def test_a_few_labels_that_are_no_intents_are_left_out_and_named(tmp_path: Path) -> None:
    taxonomy(tmp_path, "a", "b")
    path = lines(tmp_path / "queries.jsonl", [*many(97), *({"text": f"odd {n}", "label": "Bill"} for n in range(3))])
    source = read_source(str(tmp_path))
    assert (len(source.rows), source.strangers) == (97, 3)
    assert source.notes == (f"left out 3 of 100 rows, whose labels are no intents of the taxonomy: 'Bill' ({path}:98)",)


def test_many_labels_that_are_no_intents_are_refused(tmp_path: Path) -> None:
    taxonomy(tmp_path, "a", "c")
    path = lines(tmp_path / "queries.jsonl", TWO)
    with pytest.raises(ValueError, match=rf"not in the taxonomy: 'b' \({path}:2\); its intents are a, c. 1 of 2 rows"):
        read_source(str(tmp_path))


def test_votes_for_what_is_no_intent_are_left_out(tmp_path: Path) -> None:
    taxonomy(tmp_path, "a", "b")
    lines(tmp_path / "queries.jsonl", many(2, monoku_shares={"A": 1, "b": 2, "zebra": 1}))
    assert read_source(str(tmp_path)).rows[0].shares == {"a": pytest.approx(1 / 3), "b": pytest.approx(2 / 3)}


def test_places_that_hold_no_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no data files: expected train, dev, val"):
        read_source(str(tmp_path))
    lines(tmp_path / "mine.jsonl", TWO)
    with pytest.raises(ValueError, match=r"it has mine.jsonl: name the file itself"):
        read_source(str(tmp_path))
    with pytest.raises(ValueError, match="no such file or folder"):
        read_source(str(tmp_path / "absent.jsonl"))


def test_a_hub_name_without_a_network_says_so() -> None:
    with pytest.raises(ValueError, match="loading it as a Hugging Face data set failed"):
        read_source("nobody/no-such-data-set")


def test_a_data_set_that_the_hugging_face_library_saved_is_read(tmp_path: Path) -> None:
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    train = datasets.Dataset.from_dict({"text": ["hi", "ho", "?"], "label": [1, 0, -1]}, features=kinds)
    datasets.DatasetDict({"train": train, "validation": train, "other": train}).save_to_disk(tmp_path / "saved")
    source = read_source(str(tmp_path / "saved"))
    assert [(row.text, row.label, row.split) for row in source.rows[:2]] == [
        ("hi", "yes", "train"),
        ("ho", "no", "train"),
    ]
    assert {row.split for row in source.rows} == {"train", "val"}
    assert source.unlabelled == 2


def test_an_unknown_format_or_encoding_is_refused(tmp_path: Path) -> None:
    path = str(lines(tmp_path / "queries.jsonl", TWO))
    with pytest.raises(ValueError, match="unknown format 'xml': expected one of rows, tracer, requests"):
        read_source(path, Reading(format="xml"))
    with pytest.raises(ValueError, match="unknown encoding 'utf-99': expected a name such as utf-8"):
        read_source(path, Reading("utf-99"))
