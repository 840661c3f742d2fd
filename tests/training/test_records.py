"""Every format is read in one way: what was written comes back, and no cell is taken for anything but text."""

import csv
import datetime
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from training.data.records import records

WORDS = ["None", "NA", "null", "nan", "01", "1.0", "true", "1e5", "SW1A", "a,b", "a;b\tc|d", '"', "é€", "\u2028x"]
CELLS = st.sampled_from(WORDS) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ROWS = st.lists(st.fixed_dictionaries({"text": CELLS, "label": CELLS | st.none(), "note": CELLS}), min_size=1)
NAMES = ["text", "label", "note"]
Rows = list[dict[str, str | None]]


def as_table(rows: Rows, delimiter: str, end: str, all_quoted: bool) -> str:
    buffer = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted or any("\r" in str(row) or "\\r" in str(row) for row in rows) else 0
    writer = csv.DictWriter(buffer, NAMES, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writeheader()
    writer.writerows({name: cell or "" for name, cell in row.items()} for row in rows)
    return buffer.getvalue()


def as_parquet(rows: Rows) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in NAMES])), buffer)
    return buffer.getvalue()


@st.composite
def written(draw: st.DrawFn, rows: Rows) -> tuple[str, bytes, str]:
    """A file's name, its bytes, and the encoding that has to be named."""
    kind = draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet"]))
    name, packed = draw(st.sampled_from([f"rows.{kind}", f"Rows.{kind.upper()}"])), draw(st.booleans())
    if kind == "parquet":
        data, given_ = as_parquet(rows), ""
    else:
        ends, ascii_ = draw(st.sampled_from(["\n", "\r\n"])), draw(st.booleans())
        if kind == "jsonl":
            text = "".join(json.dumps(row, ensure_ascii=ascii_) + ends for row in rows)
        elif kind == "json":
            text = json.dumps(rows, ensure_ascii=ascii_, indent=draw(st.sampled_from([None, 1])))
        else:
            delimiter = draw(st.sampled_from(",;\t|" if kind == "csv" else "\t"))
            text = as_table(rows, delimiter, ends, draw(st.booleans()))
        found = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
        encoding = draw(st.sampled_from([*found, "latin-1", "shift-jis"]))
        try:
            data, given_ = text.encode(encoding), "" if encoding in found else encoding
        except UnicodeEncodeError:
            data, given_ = text.encode(), ""
        if given_ and data.decode(given_) != text:  # some codecs do not give back what they took
            data, given_ = text.encode(), ""
    return (name + ".gz" if packed else name), (gzip.compress(data) if packed else data), given_


@given(st.data(), ROWS)
def test_a_table_reads_back_equal_from_any_format_encoding_and_dialect(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, rows: Rows
) -> None:
    name, content, encoding = data.draw(written(rows))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    read = [values for _, values in records(path, encoding)]
    blank = [row for row in rows if name.lower().startswith(("rows.csv", "rows.tsv")) and is_blank(row)]
    assert read == [row for row in rows if row not in blank]


def is_blank(row: dict[str, str | None]) -> bool:
    """A table's rows of spaces alone are left out, as spreadsheets write them."""
    return not any(cell and cell.strip() for cell in row.values())


def table(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_column_that_turns_from_numbers_to_text_late_is_text(tmp_path: Path) -> None:
    lines = [f"message {n},a,{n:05}" for n in range(10_500)]
    path = table(tmp_path / "rows.csv", "\n".join(["text,label,zip", *lines, "the last,b,SW1A"]))
    read = [values["zip"] for _, values in records(path)]
    assert (read[0], read[7], read[-1]) == ("00000", "00007", "SW1A")


def test_a_place_is_the_line_where_the_record_begins(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", 'text,label\r\n"two\r\nlines",a\r\n\r\nb,c\r\n')
    assert [place for place, _ in records(path)] == [f"{path}:2", f"{path}:5"]
    path = table(tmp_path / "rows.json", '[\n {"text": "a",\n  "label": "b"},\n\n {"text": "c"}]\n')
    assert [place for place, _ in records(path)] == [f"{path}:2", f"{path}:5"]


def test_what_json_does_not_know_is_text_in_parquet(tmp_path: Path) -> None:
    day, moment = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5)
    row: dict[str, Any] = {
        "text": b"hi",
        "label": 1,
        "day": day,
        "at": moment,
        "price": Decimal("1.50"),
        "raw": b"\xff\x00",
        "took": datetime.timedelta(seconds=90),
        "more": {"at": [moment], "none": None},
        "score": float("nan"),
        "shares": {"a": 1, "b": None},
    }
    kinds = pa.schema([(name, pa.infer_type([value])) for name, value in row.items() if name != "shares"])
    kinds = kinds.append(pa.field("shares", pa.map_(pa.string(), pa.int64())))
    parquet.write_table(
        pa.Table.from_pylist([{**row, "shares": list(row["shares"].items())}], kinds), tmp_path / "r.parquet"
    )
    ((_, read),) = records(tmp_path / "r.parquet")
    assert json.loads(json.dumps(read)) == {
        "text": "hi",
        "label": 1,
        "day": "2026-01-02",
        "at": "2026-01-02T03:04:05",
        "price": "1.50",
        "raw": "/wA=",
        "took": "0:01:30",
        "more": {"at": ["2026-01-02T03:04:05"], "none": None},
        "score": None,
        "shares": {"a": 1, "b": None},
    }


def test_classes_that_are_stored_as_numbers_have_their_names(tmp_path: Path) -> None:
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(tmp_path / "rows.parquet")
    assert [values["label"] for _, values in records(tmp_path / "rows.parquet")] == ["yes", "no", None]


def test_a_number_of_no_class_is_refused_by_its_row(tmp_path: Path) -> None:
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    path = tmp_path / "rows.parquet"
    schema = kinds.arrow_schema
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [1, 2]}, schema), path)
    with pytest.raises(ValueError, match=r"rows\.parquet row 2: label is class 2, but only 0 to 1 have a name"):
        list(records(path))


def test_times_that_python_cannot_hold_are_carried_as_their_numbers(tmp_path: Path) -> None:
    times = pa.array([10**18, None], pa.timestamp("us")), pa.array([10**9, 0], pa.date32())
    parquet.write_table(pa.table(times, ["at", "day"]), tmp_path / "rows.parquet")
    read = [values for _, values in records(tmp_path / "rows.parquet")]
    assert read == [{"at": str(10**18), "day": str(10**9)}, {"at": None, "day": "0"}]


def test_a_cell_of_a_table_may_be_as_long_as_a_text_in_any_other_format(tmp_path: Path) -> None:
    path = table(tmp_path / "rows.csv", f'text,label\n"{"long " * 40_000}",a\n')
    assert [len(values["text"]) for _, values in records(path)] == [200_000]


def test_text_in_an_older_encoding_is_read_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(tmp_path / "rows.csv", "text,label\ncafé for 3 €,a\n", "cp1252")
    assert [values["text"] for _, values in records(path)] == ["café for 3 €"]
    told = f"{path} is not UTF-8: read as Windows-1252 (latin-1); give --encoding if that is wrong"
    assert capsys.readouterr().err == f"warning: {told}\n"


@pytest.mark.parametrize("encoding", ["utf-16", "UTF-16LE", "utf_32"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_utf8_under_the_name_of_another_unicode_encoding_is_refused(tmp_path: Path, encoding: str, name: str) -> None:
    # Two bytes at a time, any text would be one in Chinese.
    path = tmp_path / name
    path.write_text("text,label\nhello,greeting\n" if name.endswith("csv") else '{"text": "hello", "label": "a"}\n')
    with pytest.raises(ValueError, match=rf"{name} is UTF-8, not {encoding.upper()}: leave --encoding out"):
        list(records(path, encoding))


def test_a_folder_like_column_is_not_taken_from_the_path(tmp_path: Path) -> None:
    (tmp_path / "label=b").mkdir()
    parquet.write_table(pa.table({"text": ["hi"], "label": ["a"]}), tmp_path / "label=b" / "rows.parquet")
    assert [values for _, values in records(tmp_path / "label=b" / "rows.parquet")] == [{"text": "hi", "label": "a"}]
