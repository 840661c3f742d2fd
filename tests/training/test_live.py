import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.lifecycle.live import DROPPED, SHARES, UNANSWERED, LiveRow, drop_round, read_live, split_of, write_live

NOW = time.time()


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def text_row(label: str = "payments", split: str = "train", number: int = 1, labeler: str = "teacher") -> LiveRow:
    return LiveRow(f"key {label}", f"text of {label}", label, labeler, "prompt", split, number, NOW)


def request_row(name: str = "r1", label: str = "payments", number: int = 1) -> LiveRow:
    drawn = {"request": name, "number": 0.001, "rate": 0.01, "epoch": "serving 0.01", "question": "q"}
    return LiveRow("key", "a text", label, "teacher", "prompt", "calibration", number, NOW, **drawn)


@pytest.mark.usefixtures("usual_umask")
def test_live_texts_are_for_their_owner_alone(tmp_path: Path) -> None:
    rows = [text_row("payments"), text_row("account", "calibration"), request_row()]
    write_live(tmp_path, rows)
    assert read_live(tmp_path) == rows
    assert (tmp_path / "live.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_label_of_an_earlier_version_takes_its_canonical_form(tmp_path: Path) -> None:
    write_live(tmp_path, [text_row()])
    path = tmp_path / "live.jsonl"
    path.write_text("\ufeff" + path.read_text().replace('"payments"', '"payments\\u200b "') + "\n", encoding="utf-8")
    assert [row.label for row in read_live(tmp_path)] == ["payments"]


@pytest.mark.parametrize("line", ["{", '{"key": "a"}', "[]"])
def test_a_damaged_line_is_named_and_what_to_do(tmp_path: Path, line: str) -> None:
    write_live(tmp_path, [text_row()])
    with (tmp_path / "live.jsonl").open("a") as file:
        file.write(line)
    with pytest.raises(ValueError, match=r"live\.jsonl:2: .*; restore it from a backup: its splits must not change"):
        read_live(tmp_path)


def test_a_dropped_round_leaves_texts_unknown_and_requests_to_be_asked_again(tmp_path: Path) -> None:
    said = text_row("account", labeler="human")
    write_live(tmp_path, [text_row(), said, request_row(), request_row("r2", number=2)])
    assert drop_round(tmp_path, 1, now=5.0) == 2
    text, kept, request, other = read_live(tmp_path)
    assert (text.split, text.time) == (DROPPED, 5.0)
    assert (request.split, request.label, request.why, request.time) == ("calibration", "", UNANSWERED, NOW)
    assert [kept, other] == [said, request_row("r2", number=2)]
    assert drop_round(tmp_path, 1, now=6.0) == 0


@given(st.floats(0, 1, exclude_max=True), st.sampled_from([0.45, 0.1, 0.01, 0.001]))
def test_a_number_has_one_split_however_many_are_asked_at_once(number: float, rate: float) -> None:
    assert str(split_of(number)) == split_of(np.array([0.5, number * rate, number]))[2]


@pytest.mark.parametrize("rate", [1.0, 0.45, 0.01, 0.001])
def test_a_sample_that_is_thinned_keeps_its_shares(rate: float) -> None:
    numbers = np.random.default_rng(0).random(200_000) * rate
    for kept in (numbers, numbers[numbers < rate / 10]):
        found = split_of(kept)
        for name, share in SHARES.items():
            assert (found == name).mean() == pytest.approx(share, abs=4 * (share * (1 - share) / len(kept)) ** 0.5)
