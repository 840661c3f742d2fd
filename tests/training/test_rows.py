import json
from pathlib import Path

import datasets
import pytest

from training.data.rows import read_source, to_row

ROW = {"text": "hi there", "label": "a"}
TWO = [ROW, {"text": "bye", "label": "b"}]


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# The datasets library leaves its CSV file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_formats_read_alike(tmp_path: Path) -> None:
    table = datasets.Dataset.from_list(TWO)
    table.to_csv(tmp_path / "rows.csv")
    table.to_parquet(tmp_path / "rows.parquet")
    lines(tmp_path / "rows.jsonl", TWO)
    read = [read_source(str(tmp_path / f"rows.{kind}")).rows for kind in ("jsonl", "csv", "parquet")]
    assert read[0] == read[1] == read[2]
    assert [(row.text, row.label) for row in read[0]] == [("hi there", "a"), ("bye", "b")]


def test_a_folder_is_read_by_file_stem(tmp_path: Path) -> None:
    for stem in ("train", "val", "test"):
        lines(tmp_path / f"{stem}.jsonl", [{"text": f"{stem} {row['text']}", "label": row["label"]} for row in TWO])
    lines(tmp_path / "oos_test.jsonl", [{"text": "moon", "label": "oos"}])
    lines(tmp_path / "notes.jsonl", [ROW])
    source = read_source(str(tmp_path))
    assert {row.text: row.split for row in source.rows}["moon"] == "test"
    assert source.taxonomy.names == ("a", "b", "oos")
    assert source.taxonomy.out_of_scope == {"oos"}
    assert source.ignored == ("notes.jsonl",)


def test_extra_fields_are_kept_and_refusals_counted(tmp_path: Path) -> None:
    rows = [{**ROW, "business": "bank", "shares": {"a": 3, "b": 1}}, {"text": "?", "label": None}, TWO[1]]
    source = read_source(str(lines(tmp_path / "queries.jsonl", rows)))
    assert source.rows[0].extra == {"business": "bank"}
    assert source.rows[0].shares == {"a": 0.75, "b": 0.25}
    assert source.unlabelled == 1


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"query": "hi", "label": "a"}, "the field text is missing; its fields are query, label"),
        ({"text": "hi", "gold": "a"}, "the field label is missing; its fields are text, gold"),
        ({"text": 3, "label": "a"}, "text must be a non-empty string, got 3"),
        ({"text": "  ", "label": "a"}, "text must be a non-empty string"),
        ({"text": "hi", "label": ["a"]}, "label must be a non-empty string"),
        ({"text": "hi", "label": " \u200b"}, "label must be a non-empty string"),
        ({"text": "hi", "label": "a", "shares": {"a": -1}}, "shares must map"),
        ({"text": "hi", "label": "a", "split": "dev2"}, "split must be one of"),
        ({"text": "hi", "label": "a", "weight": "heavy"}, "weight must be"),
    ],
)
def test_a_wrong_record_is_refused_by_place_and_reason(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^here: {complaint}"):
        to_row(values, "here", "")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            b'{"text": "hi", "label": "a"}\n{"text": \n',
            "queries.jsonl:2: not valid JSON: Expecting value",
        ),
        (b'\xff\xfe{"text": 1}\n', "queries.jsonl:1: not UTF-8: invalid start byte at byte 1"),
        (b"[1]\n", "queries.jsonl:1: expected a JSON object, got list"),
        (b"", "no labelled row"),
        (bytes(range(256)) * 40, "queries.jsonl:1: not valid JSON"),
    ],
)
def test_a_damaged_file_is_refused_by_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "queries.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_source(str(tmp_path))


def test_labels_outside_the_taxonomy_are_refused(tmp_path: Path) -> None:
    (tmp_path / "taxonomy.toml").write_text('[[intents]]\nname = "a"\n[[intents]]\nname = "c"\n')
    lines(tmp_path / "queries.jsonl", TWO)
    with pytest.raises(ValueError, match="labels not in the taxonomy: b; its intents are a, c"):
        read_source(str(tmp_path))


def test_labels_that_only_look_different_are_one(tmp_path: Path) -> None:
    texts = ["one", "two", "three", "four", "five"]
    labels = ["caf\u00e9", "cafe\u0301 ", "\tcaf\u00e9\u200b", "\ufeffcaf\u00e9", "b"]
    rows = [{"text": text, "label": label, "gold": label} for text, label in zip(texts, labels, strict=True)]
    rows[4]["shares"] = {"b": 1, "b ": 1, "cafe\u0301": 2}  # type: ignore[assignment]
    source = read_source(str(lines(tmp_path / "queries.jsonl", rows)))
    assert source.taxonomy.names == ("b", "caf\u00e9")
    assert {row.label for row in source.rows} == {row.gold for row in source.rows} == {"b", "caf\u00e9"}
    assert source.rows[4].shares == {"b": 0.5, "caf\u00e9": 0.5}


def test_a_number_that_json_does_not_know_is_null(tmp_path: Path) -> None:
    table = [{**row, "score": float("nan"), "more": {"deep": [float("inf")]}} for row in TWO]
    datasets.Dataset.from_list(table).to_parquet(tmp_path / "rows.parquet")
    rows = read_source(str(tmp_path / "rows.parquet")).rows
    assert [row.extra for row in rows] == [{"score": None, "more": {"deep": [None]}}] * 2


def test_places_that_hold_no_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no data files"):
        read_source(str(tmp_path))
    with pytest.raises(ValueError, match="no such file or folder"):
        read_source(str(tmp_path / "absent.jsonl"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        read_source(str(tmp_path / "broken.parquet"))


def test_a_hub_name_without_a_network_says_so() -> None:
    with pytest.raises(ValueError, match="loading it as a Hugging Face data set failed"):
        read_source("nobody/no-such-data-set")


def test_a_lone_surrogate_is_replaced() -> None:
    row = to_row({"text": "broken \ud83d here", "label": "a"}, "here", "")
    assert row is not None
    assert row.text == "broken \ufffd here"
