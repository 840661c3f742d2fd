import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Intent, Taxonomy
from inference.teachers.own import FunctionTeacher, RecordedTeacher
from inference.teachers.registry import open_teacher
from inference.teachers.teacher import Reply, Teacher, TeacherError

TAXONOMY = Taxonomy((Intent("tickets"), Intent("Payments"), Intent("unknown")))


def ask(teacher: Teacher, text: str = "hello", timeout_s: float = 5) -> Reply:
    async def run() -> Reply:
        try:
            return await teacher.ask(text, timeout_s)
        finally:
            await teacher.close()

    return asyncio.run(run())


def fails(teacher: Teacher, kind: str, text: str = "hello", timeout_s: float = 5) -> TeacherError:
    with pytest.raises(TeacherError) as caught:
        ask(teacher, text, timeout_s)
    assert caught.value.kind == kind, caught.value
    return caught.value


def test_a_sync_and_an_async_function_are_teachers() -> None:
    async def later(text: str) -> str:
        return "payments"

    for function in (lambda text: "PAYMENTS", later):
        reply = ask(FunctionTeacher(function, TAXONOMY, usd=0.002))
        assert (reply.label, reply.nano) == ("Payments", 2_000_000)


@pytest.mark.parametrize("answer", ["root", "", None, 3])
def test_a_function_that_answers_something_else_is_refused_never_a_label(answer: Any) -> None:
    reply = ask(FunctionTeacher(lambda text: answer, TAXONOMY))
    assert reply.label is None
    assert "not an intent" in str(reply.refusal)


def test_a_function_that_raises_or_hangs_is_a_teacher_error() -> None:
    def broken(text: str) -> str:
        raise KeyError("gone")

    async def slow(text: str) -> str:
        await asyncio.sleep(60)
        return "tickets"

    assert "KeyError" in str(fails(FunctionTeacher(broken, TAXONOMY), "error"))
    assert fails(FunctionTeacher(slow, TAXONOMY), "timeout", timeout_s=0.05).unsure


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    rows = [
        {"text": "a", "label": "tickets", "latency_ms": 40, "cost_usd": 0.001},
        {"text": "b", "label": "out_of_list"},
        {"text": "c", "label": None},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_recorded_answers_come_with_their_cost_and_latency(recorded: Path) -> None:
    teacher = RecordedTeacher(recorded, TAXONOMY)
    assert ask(teacher, "a") == Reply("tickets", nano=1_000_000, latency_s=0.04)
    assert ask(teacher, "b").label is None
    assert ask(teacher, "c").label is None
    fails(teacher, "missing", "d")


@pytest.mark.parametrize("line", ['{"text": "a"}', '{"label": "tickets"}', '{"text": 1, "label": "tickets"}'])
def test_recorded_answers_that_are_none_are_refused_by_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"text": "a", "label": "tickets"}\n' + line)
    with pytest.raises(ValueError, match=r"labels\.jsonl:2: expected an object with text and label"):
        RecordedTeacher(path, TAXONOMY)


def shout(text: str) -> str:
    return "tickets"


def test_teachers_are_opened_by_name(recorded: Path) -> None:
    assert ask(open_teacher(f"recorded:{recorded}", TAXONOMY), "a").label == "tickets"
    assert ask(open_teacher(f"python:{__name__}:shout", TAXONOMY)).label == "tickets"
    assert ask(open_teacher(shout, TAXONOMY)).label == "tickets"
    assert open_teacher("anthropic:claude-haiku-5-5", TAXONOMY).name == "anthropic:claude-haiku-5-5"
    local = open_teacher("openai:llama3.2@http://localhost:11434/v1", TAXONOMY)
    assert local.name == "openai:llama3.2@http://localhost:11434/v1"
    assert open_teacher(local, TAXONOMY) is local


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("claude", "expected anthropic:MODEL"),
        ("anthropic:", "expected anthropic:MODEL"),
        ("anthropic:claude-9", "no price for the model 'claude-9'"),
        ("openai:nobody", "--prices FILE"),
        ("recorded:/no/such/file", "cannot be read"),
        ("python:json:nothing", "the teacher python:json:nothing cannot be imported"),
        ("python:json", "expected"),
    ],
)
def test_a_wrong_name_says_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_teacher(spec, TAXONOMY)


def test_the_same_question_has_the_same_prompt_id_for_every_teacher(recorded: Path) -> None:
    teachers = [FunctionTeacher(shout, TAXONOMY), RecordedTeacher(recorded, TAXONOMY)]
    assert len({teacher.prompt_id for teacher in teachers}) == 1
