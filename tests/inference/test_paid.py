import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.common.errors import MonokuError
from inference.log.decision_log import DecisionLog, TeacherAnswer
from inference.money.ledger import Ledger, Spent
from inference.serving.paid import Books, NotAsked, Question
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply, TeacherError

TAXONOMY = Taxonomy.of(("payments", "account"))


class Failing(FunctionTeacher):
    """A teacher of which every call fails in the same way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str, TAXONOMY)
        self.error = error

    async def ask(self, text: str, timeout_s: float) -> Reply:
        raise self.error


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DecisionLog]:
    with contextlib.closing(DecisionLog(tmp_path / "log.db")) as log:
        yield log


def call(log: DecisionLog, teacher: FunctionTeacher, question: Question, ledger: Ledger | None = None) -> Reply | None:
    with contextlib.suppress(TeacherError):
        return asyncio.run(Books(ledger, log, 5.0, "the question").call(teacher, question))
    return None


def rows(log: DecisionLog) -> list[TeacherAnswer]:
    log.close()
    return list(log.read_answers()) if Path(log.name).exists() else []


def test_an_answer_is_kept_under_its_row_with_the_question_it_answers(log: DecisionLog) -> None:
    found = call(log, FunctionTeacher(lambda text: "payments", TAXONOMY), Question("row", "what now", True))
    assert found is not None
    (row,) = rows(log)
    assert (row.request_id, row.label, row.sampled, row.question_id) == ("row", "payments", True, "the question")


def test_a_query_that_the_teacher_does_not_take_is_a_refusal_in_the_sample(log: DecisionLog) -> None:
    teacher = Failing(TeacherError("size", "the query is too large"))
    assert call(log, teacher, Question("row", "what now", True)) is None
    assert call(log, teacher, Question("other", "what now", False)) is None
    (row,) = rows(log)
    assert (row.request_id, row.label, row.refusal) == ("row", None, "the query is too large")
    assert (row.cost_usd, row.sampled) == (0.0, True)


@pytest.mark.parametrize(
    "error", [TeacherError("overloaded", "busy", again=True), TeacherError("key", "wrong key", fatal=True)]
)
def test_an_outage_leaves_no_row(log: DecisionLog, error: TeacherError) -> None:
    assert call(log, Failing(error), Question("row", "what now", True)) is None
    assert rows(log) == []


@pytest.mark.parametrize("sampled", [True, False])
def test_what_the_cap_has_no_room_for_is_not_asked(log: DecisionLog, tmp_path: Path, sampled: bool) -> None:
    asked: list[str] = []
    ledger = Ledger(tmp_path / "spend.db", cap_usd=0.1)
    teacher = FunctionTeacher(lambda text: asked.append(text) or "payments", TAXONOMY, usd=0.06)
    call(log, teacher, Question("first", "one", True), ledger)
    with pytest.raises(NotAsked, match="would pass the cap"):
        call(log, teacher, Question("second", "two", sampled), ledger)
    assert asked == ["one"]
    assert [row.request_id for row in rows(log)] == ["first"]


def test_a_ledger_out_of_reach_means_no_call(log: DecisionLog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    teacher = FunctionTeacher(lambda text: "payments", TAXONOMY, usd=0.1)
    with pytest.raises(MonokuError, match="ledger"):
        call(log, teacher, Question("row", "what now", True), Ledger(tmp_path / "file" / "spend.db"))
    assert rows(log) == []


def test_a_ledger_that_takes_too_long_is_no_fault_of_the_teachers_and_what_it_reserves_late_is_given_back(
    log: DecisionLog, tmp_path: Path
) -> None:
    release, given_back = threading.Event(), threading.Event()

    class Slow(Ledger):
        def reserve(self, nano: int, kept: float = 0.0) -> str:
            release.wait(30)
            return super().reserve(nano, kept)

        def settle(self, *what: Any) -> None:
            super().settle(*what)
            given_back.set()

    ledger = Slow(tmp_path / "spend.db", 10.0)

    async def run() -> None:
        books = Books(ledger, log, 0.2, "the question")
        with pytest.raises(NotAsked, match="the spend ledger takes over"):
            await books.call(FunctionTeacher(lambda text: "account", TAXONOMY, usd=1.0), Question("id", "x", False))
        release.set()
        assert await asyncio.to_thread(given_back.wait, 30)

    asyncio.run(run())
    assert ledger.spent() == Spent(0, 0, 0)
