import json
from pathlib import Path

import pytest

from training.lifecycle.live import UNANSWERED, LiveRow
from training.lifecycle.questions import Step, follow, read_steps, renamed, way

RENAME = Step("q1", "q2", {"account": "access", "payments": "payments"})
ADD = Step("q2", "q3", {"access": "access", "payments": "payments"}, added=("orders",), among=("payments",))
MERGE = Step("q3", "q4", {"access": "access", "payments": "money", "orders": "money"})
STEPS = [RENAME, ADD, MERGE]


def text(label: str, question: str = "q1", **more: object) -> LiveRow:
    return LiveRow(f"k {label}", f"text of {label}", label, "t", "p", "train", 1, 0.0, question=question, **more)  # type: ignore[arg-type]


def request(label: str, question: str = "q1") -> LiveRow:
    drawn = {"request": f"r {label}", "number": 0.001, "rate": 0.01}
    return LiveRow("k", "a text", label, "t", "p", "calibration", 1, 0.0, question=question, **drawn)  # type: ignore[arg-type]


def test_the_way_leads_over_every_step_or_is_none() -> None:
    assert way(STEPS, "q1", "q3") == [RENAME, ADD]
    assert way(STEPS, "q2", "q2") == []
    assert way(STEPS, "q9", "q3") == []


def test_a_renamed_intent_is_mapped_and_nothing_is_asked() -> None:
    rows = [text("account", shares={"account": 0.7, "payments": 0.3}), request("account")]
    found = follow(rows, STEPS, "q2", "q1")
    assert [(row.label, row.question, row.why) for row in found.rows] == [("access", "q2", "")] * 2
    assert found.rows[0].shares == {"access": 0.7, "payments": 0.3}
    assert (found.mapped, found.ask) == (2, {})


def test_what_may_be_of_a_new_intent_is_asked_and_a_request_has_no_answer_until_then() -> None:
    rows = [text("payments"), request("payments"), text("account"), request("account")]
    found = follow(rows, STEPS, "q3", "q1")
    assert [(row.label, row.why) for row in found.rows] == [
        ("payments", ""),
        ("", UNANSWERED),
        ("access", ""),
        ("access", ""),
    ]
    assert found.ask == {"k payments": "text of payments", "r payments": "a text"}


def test_a_person_is_not_asked_again() -> None:
    said = LiveRow("k:human", "x", "payments", "human", "", "train", 1, 0.0, question="q2")
    assert follow([said], STEPS, "q3", "q1").ask == {}


def test_rows_of_a_question_that_no_note_leads_from_stay_as_they_are() -> None:
    rows = [text("account", "elsewhere"), request("account", "elsewhere")]
    found = follow(rows, STEPS, "q4", "q1")
    assert (found.rows, found.mapped) == (rows, 0)


def test_rows_of_before_there_were_questions_are_of_the_first() -> None:
    found = follow([text("payments", ""), text("account", "")], STEPS[:1], "q2", first="q1")
    assert [(row.label, row.question) for row in found.rows] == [("payments", "q2"), ("access", "q2")]


def test_a_model_of_an_earlier_question_answers_under_todays_names() -> None:
    found = renamed(STEPS, "q1", "q4")
    assert (found["account"], found["payments"]) == ("access", "money")
    assert renamed(STEPS, "q4", "q4") == {}


def test_notes_are_read_and_those_without_a_question_passed_over(tmp_path: Path) -> None:
    assert read_steps(str(tmp_path)) == []
    old = {"from": "x", "to": "y", "mapping": {"a": "b"}, "added": []}
    new = {
        "from_question": "q1",
        "to_question": "q2",
        "mapping": {"account": "access"},
        "added": ["orders"],
        "among": [],
    }
    (tmp_path / "changes.jsonl").write_text(json.dumps(old) + "\n" + json.dumps(new) + "\n")
    assert read_steps(str(tmp_path)) == [Step("q1", "q2", {"account": "access"}, ("orders",))]
    (tmp_path / "changes.jsonl").write_text("{")
    with pytest.raises(ValueError, match=r"changes\.jsonl:1"):
        read_steps(str(tmp_path))
