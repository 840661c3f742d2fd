import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.lifecycle.traffic import LiveRow, compose, read_live, write_live


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def live_row(label: str = "payments", split: str = "train") -> LiveRow:
    return LiveRow(f"key {label}", f"text of {label}", label, "teacher", "prompt", split, 1, time.time())


@pytest.mark.usefixtures("usual_umask")
def test_live_texts_are_for_their_owner_alone(tmp_path: Path) -> None:
    rows = [live_row("payments"), live_row("account", "calibration")]
    write_live(tmp_path, rows)
    assert read_live(tmp_path) == rows
    assert (tmp_path / "live.jsonl").stat().st_mode & 0o777 == 0o600
    compose(None, rows, tmp_path / ".refresh" / "data", 1, 0.0, 1.0)
    assert (tmp_path / ".refresh" / "data").stat().st_mode & 0o777 == 0o700


def test_a_label_of_an_earlier_version_takes_its_canonical_form(tmp_path: Path) -> None:
    write_live(tmp_path, [live_row()])
    path = tmp_path / "live.jsonl"
    path.write_text("\ufeff" + path.read_text().replace('"payments"', '"payments\\u200b "') + "\n", encoding="utf-8")
    assert [row.label for row in read_live(tmp_path)] == ["payments"]


@pytest.mark.parametrize("line", ["{", '{"key": "a"}', "[]"])
def test_a_damaged_line_is_named_and_what_to_do(tmp_path: Path, line: str) -> None:
    write_live(tmp_path, [live_row()])
    with (tmp_path / "live.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=r"live\.jsonl:2: .*; restore it from a backup: its splits must not change"):
        read_live(tmp_path)
