from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.teacher import Reply
from tests.fake_api import FakeAPI
from training.lifecycle.asking import Wanted, answered, ask, asked_as, price, unanswered
from training.lifecycle.live import DROPPED, REFUSED, UNANSWERED, LiveRow

TAXONOMY = Taxonomy.of(["account", "payments"])
TEACHER = "python:tests.training.test_asking:note_and_teach"
asked: list[str] = []


def note_and_teach(text: str) -> str | Reply:
    asked.append(text)
    return Reply(None, "declined") if "hostile" in text else "account"


@pytest.fixture(autouse=True)
def nobody_asked() -> None:
    asked.clear()


def hole(name: str, time: float = 0.0, **more: object) -> LiveRow:
    drawn = {"request": name, "number": 0.001, "rate": 0.01, "question": "q", "why": UNANSWERED} | more
    return LiveRow("k", f"text of {name}", "", "", "", "calibration", 1, time, **drawn)  # type: ignore[arg-type]


def test_requests_are_asked_each_for_itself_and_texts_once(tmp_path: Path) -> None:
    wanted = Wanted({"r1": "the same", "r2": "the same"}, {"k1": "another"})
    found = ask(wanted, TEACHER, TAXONOMY, tmp_path / "out.jsonl", None, kept=0.1)
    assert {name: answer["label"] for name, answer in found.answers.items()} == dict.fromkeys(
        ("r1", "r2", "k1"), "account"
    )
    assert asked == ["the same", "the same", "another"]
    ask(wanted, TEACHER, TAXONOMY, tmp_path / "out.jsonl", None, kept=0.1)
    assert len(asked) == 3  # each was paid for once


def test_a_refusal_is_an_answer_of_the_sample_and_none_of_a_text(tmp_path: Path) -> None:
    found = ask(Wanted({"r1": "hostile"}), TEACHER, TAXONOMY, tmp_path / "out.jsonl", None, kept=0.1)
    row = answered(hole("r1"), found.answers["r1"], number=3, question="q")
    assert (row.label, row.why, row.labeler, row.round) == ("", REFUSED, TEACHER, 3)
    assert row.time == 0.0  # when it was a request, not when it was asked


def test_the_newest_holes_come_first_and_those_of_another_question_not_at_all() -> None:
    rows = [hole("r1", 1.0), hole("r2", 2.0), hole("r3", 3.0, question="another"), hole("r4", 4.0, why=REFUSED)]
    assert [row.request for row in unanswered(rows, "q")] == ["r2", "r1"]


def test_what_lost_its_answer_is_asked_under_another_name() -> None:
    text = LiveRow("k", "t", "account", "t", "p", "train", 2, 0.0, question="q")
    assert asked_as(text) == "k"
    assert asked_as(LiveRow("k", "t", "account", "t", "p", DROPPED, 2, 0.0, question="q")) == "k:2:q"
    assert asked_as(hole("r1")) == "r1"
    lost = LiveRow("k", "t", "", "t", "p", "dev", 2, 0.0, request="r1", question="q", why=UNANSWERED)
    assert asked_as(lost) == "r1:2:q"


def test_without_a_teacher_nothing_is_asked_and_nothing_costs(tmp_path: Path) -> None:
    wanted = Wanted({"r1": "a"}, {"k": "b"})
    assert ask(wanted, "", TAXONOMY, tmp_path / "out.jsonl", 1.0, 0.1).answers == {}
    assert price(wanted, "", TAXONOMY) == 0.0
    assert len(wanted) == 2


def test_a_part_of_the_cap_is_kept_for_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = "anthropic:claude-haiku-5-5"
    with FakeAPI(fence="query") as api:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", api.url)
        cap = 1.05 * price(Wanted({"r1": "a"}), teacher, TAXONOMY)  # nine tenths are too little for one answer
        text = ask(Wanted({}, {"k1": "a"}), teacher, TAXONOMY, tmp_path / "texts.jsonl", cap, kept=0.1)
        request = ask(Wanted({"r1": "a"}, {}), teacher, TAXONOMY, tmp_path / "requests.jsonl", cap, kept=0.1)
    assert (list(text.answers), len(text.failed)) == ([], 1)
    assert (list(request.answers), request.failed) == (["r1"], [])
    assert 0 < request.usd < cap
