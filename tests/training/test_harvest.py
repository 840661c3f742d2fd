import time
from pathlib import Path

import pytest

from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from training.lifecycle.harvest import Harvest, harvest
from training.lifecycle.live import DROPPED, FORGOTTEN, HUMAN, REFUSED, SHARES, UNANSWERED, LiveRow

NOW = time.time()


class Log:
    """A log that a test writes: decisions with their answers."""

    def __init__(self, path: Path) -> None:
        self.path = path / "log.db"
        self.rows: list[Decision | TeacherAnswer | Correction] = []

    def request(
        self, id: str, text: str, number: float | None = 0.005, sampled: bool = True, time: float = NOW
    ) -> None:
        source = "student" if sampled else "fallback"
        guess = ("account", 0.5, sampled, source, False, not sampled, sampled, "b", 1.0, None)
        self.rows.append(Decision(id, time, text, *guess, "conversation", number, 0.01, "serving 0.01", "p", "q"))

    def answer(
        self, id: str, text: str, label: str | None, sampled: bool = True, time: float = NOW, teacher: str = "t"
    ) -> None:
        said = (label, None if label else "declined", {}, 0.0, 1.0, sampled, "q")
        self.rows.append(TeacherAnswer(id, time, text, teacher, "p", *said))

    def correct(self, id: str, text: str, intent: str, time: float) -> None:
        self.rows.append(Correction(id, time, text, intent, "q"))

    def harvest(self, known: list[LiveRow] | None = None, since: float = 0.0, number: int = 1) -> Harvest:
        log = DecisionLog(self.path)
        for row in self.rows:
            log.put(row)
        log.close()
        self.rows = []
        return harvest(DecisionLog(self.path), known or [], since, NOW + 1000, number, "q", "salt")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def merged(known: list[LiveRow], found: Harvest) -> list[LiveRow]:
    return list({row.identity: row for row in (*known, *found.rows)}.values())


def test_every_sampled_request_is_a_row_with_its_own_answer(log: Log) -> None:
    for i in range(5):
        log.request(f"r{i}", "the same", number=i / 1000)
        log.answer(f"r{i}", "the same", "account" if i < 3 else "payments")
    rows = log.harvest().rows
    assert [(row.request, row.label) for row in rows] == [
        ("r0", "account"),
        ("r1", "account"),
        ("r2", "account"),
        ("r3", "payments"),
        ("r4", "payments"),
    ]
    assert {row.split for row in rows} <= set(SHARES)
    assert {(row.rate, row.epoch, row.question) for row in rows} == {(0.01, "serving 0.01", "q")}


def test_a_retry_counts_once_and_brings_the_answer_that_the_first_try_lacked(log: Log) -> None:
    log.request("r1", "again", number=0.002, time=NOW)
    first = log.harvest()
    assert [(row.request, row.why) for row in first.rows] == [("r1", UNANSWERED)]
    log.request("r2", "again", number=0.002, time=NOW + 1)
    log.answer("r2", "again", "account", time=NOW + 1)
    rows = merged(first.rows, log.harvest(first.rows, number=2))
    assert [(row.request, row.label, row.why, row.round) for row in rows] == [("r1", "account", "", 2)]


def test_looking_again_finds_nothing_new(log: Log) -> None:
    for i in range(3):
        log.request(f"r{i}", f"text {i}", number=i / 1000)
        log.answer(f"r{i}", f"text {i}", "account")
        log.answer(f"u{i}", f"other {i}", "account", sampled=False)
    first = log.harvest()
    again = log.harvest(first.rows, since=NOW, number=2)
    assert not again.rows
    assert again.tally["labelled before"] == 3


def test_an_answer_of_the_sample_never_trains_and_its_text_may_train_through_others(log: Log) -> None:
    log.request("r1", "hello", number=0.001)
    log.answer("r1", "hello", "account")
    log.answer("u1", "hello", "payments", sampled=False)
    rows = log.harvest().rows
    assert {(row.request, row.split in SHARES, row.label) for row in rows} == {
        ("r1", True, "account"),
        ("", False, "payments"),
    }


def test_a_refusal_stays_in_the_sample_whatever_another_teacher_said_after_it(log: Log) -> None:
    log.request("r1", "hostile")
    log.answer("r1", "hostile", None)
    log.answer("r1", "hostile", "account", time=NOW + 1)
    (row,) = log.harvest().rows
    assert (row.label, row.why, row.labeler) == ("", REFUSED, "t")


def test_a_deferred_request_is_judged_by_the_teacher_that_judges_the_accepted_ones(log: Log) -> None:
    for i in range(6):
        deferred = i < 3
        log.request(f"r{i}", f"text {i}", number=i / 1000)
        log.answer(f"r{i}", f"text {i}", "account", time=NOW + 1)
        if deferred:  # the first teacher was late for the caller, so the second was asked too, and was faster
            log.answer(f"r{i}", f"text {i}", "payments", time=NOW, teacher="second")
    assert {(row.labeler, row.label) for row in log.harvest().rows} == {("t", "account")}


def test_an_outage_does_not_select_which_part_of_the_sample_judges(log: Log) -> None:
    log.request("r1", "accepted", number=0.001)
    log.request("f1", "fallen back", sampled=False, number=0.5)
    found = log.harvest()
    assert [(row.request, row.why) for row in found.rows] == [("r1", UNANSWERED)]
    assert list(found.unanswered.values()) == ["fallen back"]
    assert found.tally["never answered"] == 2


def test_rows_that_reach_the_log_late_are_found(log: Log) -> None:
    log.answer("u1", "late", "account", sampled=False)
    assert [row.text for row in log.harvest(since=NOW + 60).rows] == ["late"]


def test_of_several_corrections_the_newest_counts_and_each_is_taken_once(log: Log) -> None:
    known: list[LiveRow] = []
    for number, intent in enumerate(("payments", "account", "unknown"), 1):
        log.correct("r", "undo it", intent, NOW + number)
        found = log.harvest(known, since=NOW, number=number)
        assert [(row.label, row.round) for row in found.rows] == [(intent, number)]
        known = merged(known, found)
    assert [(row.label, row.labeler, row.split) for row in known] == [("unknown", HUMAN, "train")]
    assert not log.harvest(known, since=NOW, number=4).rows


def test_how_often_people_contradict_the_teacher_is_counted(log: Log) -> None:
    for i in range(4):
        log.request(f"r{i}", f"text {i}", number=i / 1000)
        log.answer(f"r{i}", f"text {i}", "account")
        log.correct(f"r{i}", f"text {i}", "account" if i else "payments", NOW + 1)
    found = log.harvest()
    assert (found.tally["corrected by a person"], found.tally["corrections that contradict the teacher"]) == (4, 1)
    # A correction trains; the request is still compared with the teacher.
    assert sum(row.human and row.split == "train" for row in found.rows) == 4
    assert all(row.label == "account" for row in found.rows if row.request)


def test_a_dropped_text_is_unknown_from_the_drop_on(log: Log) -> None:
    log.answer("u1", "hello", "account", sampled=False, time=NOW)
    (row,) = log.harvest().rows
    dropped = LiveRow(row.key, row.text, "account", "t", "p", DROPPED, 1, NOW + 5, question="q")
    assert not log.harvest([dropped], number=2).rows
    log.answer("u2", "hello", "payments", sampled=False, time=NOW + 10)
    assert [row.label for row in log.harvest([dropped], number=2).rows] == ["payments"]


def test_a_dropped_request_does_not_come_back_from_the_log(log: Log) -> None:
    log.request("r1", "hello")
    log.answer("r1", "hello", "account")
    (row,) = log.harvest().rows
    waiting = LiveRow(
        **{**{name: getattr(row, name) for name in row.__dataclass_fields__}, "label": "", "why": UNANSWERED}
    )
    assert not log.harvest([waiting], number=2).rows


def test_a_forgotten_text_is_taken_into_no_sample(log: Log) -> None:
    log.request("r1", "hello")
    log.answer("r1", "hello", "account")
    (row,) = log.harvest().rows
    gone = LiveRow(row.key, "", "", "", "", FORGOTTEN, 1, NOW, request="r1", number=0.005, rate=0.01)
    log.request("r2", "hello", number=0.003)
    log.answer("r2", "hello", "account")
    found = log.harvest([gone], number=2)
    assert not found.rows
    assert found.tally["of a forgotten text"] == 1
