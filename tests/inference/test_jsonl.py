import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.common import jsonl
from inference.teachers.own import RecordedTeacher
from training.data.source import read_source
from training.labelling.queries import read_queries

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
ENDS = st.sampled_from(["\n", "\r\n", "\n\n", "\n \t\r\n", "\n\ufeff"])
DEEP = b"[" * 100_000


@given(st.lists(st.tuples(OBJECTS, ENDS)), st.booleans(), st.booleans())
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[dict[str, Any], str]], ascii_: bool, mark: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=ascii_) + end for row, end in rows)
    path.write_bytes(("\ufeff" * mark + text).encode("utf-8", "surrogatepass" if ascii_ else "replace"))
    expected = [json.loads(json.dumps(row, ensure_ascii=ascii_).encode("utf-8", "replace")) for row, _ in rows]
    assert [values for _, values in jsonl.read(path)] == expected


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_an_error_of_one_line(line: bytes) -> None:
    try:
        values = jsonl.parse(jsonl.decode(line))
    except ValueError as error:
        assert str(error).startswith(("not UTF-8", "not valid JSON", "expected a JSON object"))  # noqa: PT017
    else:
        assert json.loads(json.dumps(values, allow_nan=False)) == values


@pytest.mark.parametrize("line", ['{"a":' * 200 + "0" + "}" * 200, '{"a": [' + "[]," * 1000 + '{"b": [0]}]}'])
def test_what_is_nested_less_or_is_only_long_is_read(line: str) -> None:
    assert jsonl.parse(line) == json.loads(line)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"\xff\xfe", "not UTF-8: invalid start byte at byte 1"),
        (b'{"a": ', "not valid JSON: Expecting value at character 6"),
        (b'{"a": NaN}', "not valid JSON: NaN is not allowed; write null"),
        (b'{"a": -Infinity}', "not valid JSON: -Infinity is not allowed; write null"),
        (b'{"a": 1e999}', "not valid JSON: the number 1e999 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON: a number of 5000 digits is too long"),
        (b'{"a": ' + DEEP, "not valid JSON: nested too deep"),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "not valid JSON: nested too deep"),
        (b'{"a": ' * 201 + b"0" + b"}" * 201, "not valid JSON: nested too deep"),
        (b"[1]", "expected a JSON object, got list"),
        (b"text", "not valid JSON: Expecting value at character 1"),
    ],
)
def test_every_command_says_the_same_of_a_bad_line(tmp_path: Path, line: bytes, complaint: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "hi", "label": "a"}\r\n\r\n' + line + b"\n")
    readers = [
        lambda: list(jsonl.read(path)),
        lambda: read_source(str(path)),
        lambda: read_queries(path, str),
        lambda: RecordedTeacher(path, Taxonomy.of(["a", "b"])),
    ]
    for read in readers:
        with pytest.raises(ValueError, match=r"rows\.jsonl:3: ") as caught:
            read()
        assert str(caught.value) == f"{path}:3: {complaint}"


def test_lines_of_plain_text_lose_a_byte_order_mark_and_keep_line_separators(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_bytes("\ufefffirst\r\n\n  second\u2028still \n{third}".encode())
    assert [text for _, text in jsonl.read_text(path)] == ["first", "second\u2028still", "{third}"]
    assert [query.text for query in read_queries(path, str).queries] == ["first", "second\u2028still", "{third}"]
    path.write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(ValueError, match=r"queries\.txt:2: not UTF-8: invalid continuation byte at byte 3"):
        read_queries(path, str)


@given(st.floats() | st.integers())
def test_a_number_is_read_as_it_was_written_or_refused(number: float) -> None:
    line = json.dumps({"n": number})
    if math.isfinite(number):
        assert jsonl.parse(line) == {"n": number}
    else:
        with pytest.raises(ValueError, match="write null"):
            jsonl.parse(line)


NUMBERS = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf])
ANY = st.recursive(
    st.none() | st.text() | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), ANY, max_size=4))
def test_what_is_printed_is_json_for_any_reader(values: dict[str, Any]) -> None:
    assert jsonl.parse(jsonl.line(values)) == without_oddities(values)


def without_oddities(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_oddities(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_oddities(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
