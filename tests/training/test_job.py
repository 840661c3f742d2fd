import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply
from training.labelling.job import Job
from training.labelling.queries import Query

TEACHER = FunctionTeacher(lambda text: "a", Taxonomy.of(["a", "b"]), "python:test")


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def keep(job: Job, key: str) -> None:
    job.keep(job.ledger.reserve(1), Query(f"text {key}", key), Reply("a", nano=1))


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
