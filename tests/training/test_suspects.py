import contextlib
import html
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.log.decision_log import DecisionLog
from tests.tiny import THINGS
from training import suspects as command
from training.data import dataset
from training.data.rows import Row
from training.lifecycle.suspects import Suspect, suspects
from training.lifecycle.suspects_page import page


def row(text: str, label: str, **more: object) -> Row:
    return Row(text, text, label, split="train", **more)  # type: ignore[arg-type]


def test_votes_that_split_are_suspect_the_more_the_closer_they_are() -> None:
    rows = [
        row("first message here", "a", shares={"a": 0.6, "b": 0.4}),
        row("another thing entirely", "a", shares={"a": 0.9, "c": 0.1}),
        row("unanimous and quiet", "a", shares={"a": 1.0, "b": 0.0}),
    ]
    found = suspects(rows, None, "")
    assert [(one.text, one.guess, round(one.value, 2)) for one in found] == [
        ("first message here", "b", 0.8),
        ("another thing entirely", "c", 0.2),
    ]
    assert found[0].reasons == ("the votes split: a 60%, b 40%",)


def test_near_duplicates_with_another_label_are_suspect_and_the_one_that_stands_alone_comes_first() -> None:
    rows = [row(f"please cancel my order number {n}", "cancel") for n in range(1000, 1003)]
    rows += [row("please cancel my order number 1003", "refund"), row("where is my parcel now", "parcel")]
    found = suspects(rows, None, "")
    assert found[0].text == "please cancel my order number 1003"
    assert (found[0].value, found[0].guess) == (1.0, "cancel")
    assert len(found) == 4
    assert "which is refund" in found[1].reasons[0]


@pytest.fixture
def mislabelled(tiny_data: Path, tiny_home: Path, tmp_path: Path) -> tuple[Path, Path, dict[str, str]]:
    """A copy of data and model in which twelve training rows have another intent's label; the right ones by text."""
    data, home = shutil.copytree(tiny_data, tmp_path / "base"), shutil.copytree(tiny_home, tmp_path / "models" / "tiny")
    wrong = {row.text: row.label for row in dataset.load(str(data)).split("train")[::20]}
    names = list(THINGS)
    lines = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    for line in lines:
        if line["text"] in wrong:
            line["label"] = names[(names.index(line["label"]) + 1) % len(names)]
    (data / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return data, home, wrong


@pytest.fixture
def flags(mislabelled: tuple[Path, Path, dict[str, str]], tiny_base: Path) -> Callable[..., list[str]]:
    data, home, _ = mislabelled
    given = ["--name", "tiny", "--models", str(home.parent), "--data", str(data), "--base", str(tiny_base)]
    return lambda *more: [*given, *more]


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_wrong_labels_come_first_and_decisions_come_back_as_corrections(
    mislabelled: tuple[Path, Path, dict[str, str]],
    flags: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, home, wrong = mislabelled
    before = {path: path.read_bytes() for path in data.iterdir()}
    out, page_file = tmp_path / "suspects.jsonl", tmp_path / "suspects.html"
    assert command.main(flags("--out", str(out), "--html", str(page_file), "--most", "20")) == 0
    found = read(out)
    assert sum(one["text"] in wrong for one in found[: len(wrong)]) >= 0.9 * len(wrong)
    assert [one["value"] for one in found] == sorted((one["value"] for one in found), reverse=True)
    assert all(one["guess"] == wrong[str(one["text"])] for one in found if one["text"] in wrong)
    assert oct(out.stat().st_mode & 0o777) == oct(page_file.stat().st_mode & 0o777) == "0o600"

    decided = tmp_path / "decided.jsonl"
    right = [{**one, "decision": wrong.get(str(one["text"]))} for one in found]
    decided.write_text("".join(json.dumps(one) + "\n" for one in right))
    for expected in (f"{len(wrong)} new", "0 new"):  # taking a file again adds nothing
        assert command.main(flags("--decided", str(decided))) == 0
        assert f"{expected} corrections" in capsys.readouterr().out
    corrections = list(DecisionLog(home / "decisions.db").read_corrections())
    assert {row.text: row.intent for row in corrections} == wrong
    assert command.main(flags("--out", str(out))) == 0
    assert not {str(one["text"]) for one in read(out)} & wrong.keys()
    assert {path: path.read_bytes() for path in data.iterdir()} == before


def test_decisions_wait_where_the_setting_says_while_the_log_cannot_be_written(
    mislabelled: tuple[Path, Path, dict[str, str]], flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    _, home, _ = mislabelled
    decided, spill = tmp_path / "decided.jsonl", tmp_path / "state" / "spill"
    decided.write_text(json.dumps({"text": "first", "decision": "payments"}) + "\n")
    assert command.main(flags("--decided", str(decided))) == 0
    with contextlib.closing(sqlite3.connect(home / "decisions.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (home / "decisions.db").open("r+b") as file:
        file.seek(18)
        file.write(b"\x03")  # a file of a later SQLite, which may be read and not written
    decided.write_text(json.dumps({"text": "second", "decision": "account"}) + "\n")
    assert command.main(flags("--decided", str(decided), "--spill", str(spill))) == 0
    assert any("second" in path.read_text() for path in spill.iterdir() if path.is_file())
    assert not (home / "spill").exists()


def test_rows_that_judge_are_never_shown(
    mislabelled: tuple[Path, Path, dict[str, str]], flags: Callable[..., list[str]], tmp_path: Path
) -> None:
    data, _, _ = mislabelled
    lines = [json.loads(line) for line in (data / "queries.jsonl").read_text().splitlines()]
    judging = {row.text for row in dataset.load(str(data)).rows if row.split != "train"}
    for line in lines:
        line["label"] = "unknown" if line["text"] in judging else line["label"]
    (data / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert command.main(flags("--out", str(tmp_path / "out.jsonl"), "--most", "10000")) == 0
    assert not {str(one["text"]) for one in read(tmp_path / "out.jsonl")} & judging


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"text": "a", "decision": "nonsense"}, r"decided.jsonl:2: decision must be an intent \(account"),
        ({"text": "a", "decision": 3}, "decided.jsonl:2: decision must be an intent"),
        ({"decision": "payments"}, "decided.jsonl:2: text must be a non-empty string"),
    ],
)
def test_an_invalid_decision_is_named_and_none_is_taken(
    flags: Callable[..., list[str]], tmp_path: Path, line: object, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    decided = tmp_path / "decided.jsonl"
    decided.write_text(json.dumps({"text": "fine", "decision": "payments"}) + "\n" + json.dumps(line) + "\n")
    assert command.main(flags("--decided", str(decided))) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "models" / "tiny" / "decisions.db").exists()


def test_a_command_without_anything_to_do_says_what_it_can_do(
    flags: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(flags())
    assert "give --out or --html" in capsys.readouterr().err


HOSTILE = st.text(max_size=30) | st.sampled_from(["</script><script>alert(1)</script>", "' onload='x", '"><img src=x>'])


@given(st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE), max_size=4), st.lists(HOSTILE, max_size=3))
def test_no_text_of_the_page_is_markup_and_its_rows_read_back(
    texts: Sequence[tuple[str, str, str]], intents: Sequence[str]
) -> None:
    given_rows = [Suspect("1", text, label, "author", 1.0, guess, (guess,)) for text, label, guess in texts]
    made = page(given_rows, intents, "shop")
    plain = page([Suspect(*"abcd", 1.0, "b", ("c",))], ["d"], "e")
    assert set(re.findall(r"<(\w+)", made)) <= set(re.findall(r"<(\w+)", plain))
    assert made.count("<script>") == made.count("</script>") == 1
    records = [json.loads(html.unescape(record)) for record in re.findall(r'data-row="([^"]*)"', made)]
    assert [record["text"] for record in records] == [text for text, _, _ in texts]
