import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply
from training.labelling.job import ASIDE, Job
from training.labelling.queries import Query

TEACHER = FunctionTeacher(lambda text: "a", Taxonomy.of(["a", "b"]), "python:test")


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def keep(job: Job, key: str, reply: Reply | None = None) -> None:
    job.keep(job.ledger.reserve(1), Query(f"text {key}", key), reply or Reply("a", nano=1))


@pytest.mark.usefixtures("usual_umask")
def test_labelled_texts_and_their_books_are_for_their_owner_alone(tmp_path: Path) -> None:
    with Job(tmp_path / "out.jsonl", TEACHER) as job:
        keep(job, "one")
        modes = {path.name: f"{path.stat().st_mode & 0o777:o}" for path in (job.out, job.home)}
        books = {f"{path.stat().st_mode & 0o777:o}" for path in job.home.glob("spend.db*")}
    assert modes == {"out.jsonl": "600", ".out.jsonl.job": "700"}
    assert books == {"600"}


def test_a_job_stays_where_it_is_when_the_process_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Job(Path("out.jsonl"), TEACHER) as job:
        monkeypatch.chdir(tmp_path / "elsewhere")
        job.ledger.close()  # the next use opens it again
        keep(job, "one")
        assert set(job.rows()) == {"one"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_rows_of_others_are_passed_over_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    other = {"text": "gold", "label": "b", "labeler": "human"}
    out.write_text("\ufeff" + json.dumps(other) + "\r\n\r\n", encoding="utf-8")
    with Job(out, TEACHER) as job:
        keep(job, "one")
        assert {key: row["label"] for key, row in job.rows().items()} == {"one": "a"}
        with out.open("a", encoding="utf-8") as file:
            file.write("{\n")
        with pytest.raises(ValueError, match=r"out\.jsonl:4: not valid JSON"):
            job.rows()


GOLD = {"text": "gold", "label": "b", "labeler": "human"}


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "  "])
def test_a_last_row_without_an_end_of_line_is_kept(tmp_path: Path, end: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_bytes((json.dumps(GOLD) + "\n" + json.dumps(GOLD) + end).encode())
    with Job(out, TEACHER) as job:
        keep(job, "one")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[:2] == [GOLD, GOLD]
    assert rows[2]["monoku_query"] == "one"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([GOLD, GOLD]).encode(),
        b"text,label\ngold,a",
        b'[[intents]]\nname = "a"',
        gzip.compress(b"{}\n"),
        json.dumps(GOLD, indent=1).encode(),
        b"not a row\n" + json.dumps(GOLD).encode()[:9],
    ],
    ids=["a list", "a table", "a taxonomy", "a packed file", "an object of several lines", "half a row after another"],
)
def test_a_file_of_something_else_is_refused_and_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    out = tmp_path / "out"
    out.write_bytes(content)
    with pytest.raises(ValueError, match=r"lines of JSON|not valid JSON"):
        Job(out, TEACHER)
    assert out.read_bytes() == content


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.parquet", "OUT.CSV.gz"])
def test_rows_are_not_written_under_the_name_of_a_table(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"let the name end in \.jsonl"):
        Job(tmp_path / name, TEACHER)
    assert not (tmp_path / name).exists()


def test_half_a_row_is_put_aside_and_never_lost(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(json.dumps(GOLD) + "\n" + json.dumps(GOLD)[:20])
    for _ in range(2):
        with Job(out, TEACHER) as job:
            assert job.rows() == {}
    assert out.read_text() == json.dumps(GOLD) + "\n"
    assert (job.home / ASIDE).read_text() == json.dumps(GOLD)[:20] + "\n"


DECLINED, INVALID = Reply(None, "declined"), Reply(None, "not JSON", again=True)


@settings(deadline=None, max_examples=15)  # each has a ledger on disk
@given(st.lists(st.sampled_from(["a", "b", "declined", "invalid"]), min_size=20, max_size=20), st.integers(1, 7))
def test_votes_that_came_count_if_they_are_more_than_half(said: list[str], votes: int) -> None:
    replies = {"declined": DECLINED, "invalid": INVALID, "a": Reply("a"), "b": Reply("b")}
    with tempfile.TemporaryDirectory() as folder, Job(Path(folder) / "out.jsonl", TEACHER, votes) as job:
        query, most, got = Query("text one", "one"), 0, list[str]()
        while job.needs(query):
            most = most or job.most(query)
            got.append(said[len(got)])
            keep(job, "one", replies[got[-1]])
        assert len(got) <= most == votes + 2
        labels = [word for word in got if word in "ab"]
        row = job.rows()["one"]
        assert (row["label"] is not None) == (len(labels) > votes / 2)
        if row["label"] is not None and votes > 1:
            assert row["monoku_shares"] == {name: labels.count(name) / len(labels) for name in sorted(set(labels))}
        assert ("monoku_refusal" in row) == (row["label"] is None)
