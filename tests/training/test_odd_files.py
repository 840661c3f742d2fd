"""Files as people have them. tests/odd_files/expected.json says of each what is read, or the error."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.data.source import Reading, read_source

FOLDER = Path(__file__).parents[1] / "odd_files"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))


def read(name: str) -> Any:
    return read_source(str(FOLDER / name), Reading(EXPECTED[name].get("encoding", "")))


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if "rows" in expected])
def test_an_odd_file_is_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, expected = read(name), EXPECTED[name]
    assert [[row.text, row.label] for row in source.rows] == expected["rows"]
    assert source.unlabelled == expected.get("unlabelled", 0)
    assert source.respelled == expected.get("respelled", 0)
    assert [row.split for row in source.rows] == expected.get("splits", [""] * len(source.rows))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == ("says" in expected)
    assert all(expected["says"] in message for message in said)


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if "error" in expected])
def test_an_unreadable_file_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        read(name)
    assert EXPECTED[name]["error"] in str(caught.value)


def test_every_file_has_its_expectation() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*EXPECTED, "expected.json", ".gitattributes"}
