"""Spans: one around each request and one around each call to a teacher, for whoever asks for them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from inference.cascade import Cascade
from inference.teachers.teacher import TeacherError
from tests.logged import wait_until

NEW, SURE = "zyx a private question", "undo the refund please"
SETTINGS: dict[str, Any] = {"spans": True, "log": "none", "sample_rate": 0.0, "deadline_s": 30.0}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """What the application does: a provider for the process, which there can be but once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = (span for span in spans.get_finished_spans() if span.name == f"monoku.{name}")
    return found


def said(span: ReadableSpan) -> dict[str, Any]:
    return {name.removeprefix("monoku."): value for name, value in (span.attributes or {}).items()}


def load(home: Path, tmp_path: Path, teacher: Any = (), **settings: Any) -> Cascade:
    return Cascade.load(home, teacher, ledger=str(tmp_path / "spend.db"), **{**SETTINGS, **settings})


def fails(text: str) -> str:
    raise ConnectionError(f"no teacher for {text}")


def test_a_request_has_a_span_that_says_how_it_was_answered(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with load(tiny_home, tmp_path, strategy="tiered", teacher=lambda text: "account") as cascade:
        cascade.classify(SURE)
        spans.clear()
        cascade.classify(SURE)
    assert said(named(spans, "classify")) == {
        "source": "teacher", "intent": "account", "accepted": True, "cached": True, "deferred": False, "cost_usd": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("way", ["classify", "aclassify", "classify_many"])
def test_a_call_to_a_teacher_is_a_child_of_the_request_that_it_is_made_for(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter, way: str
) -> None:
    with load(tiny_home, tmp_path, strategy="tiered", teacher=lambda text: "account") as cascade:
        if way == "aclassify":
            asyncio.run(cascade.aclassify(NEW))
        elif way == "classify":
            cascade.classify(NEW)
        else:
            cascade.classify_many([NEW])
    request, call = named(spans, way.removeprefix("a") if way == "aclassify" else way), named(spans, "teacher")
    assert call.parent is not None
    assert call.parent.span_id == request.context.span_id
    assert said(call)["status"] == "answered"
    assert said(call)["teacher"].startswith("python:")


def test_the_applications_own_span_is_the_parent_of_a_requests(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with load(tiny_home, tmp_path) as cascade, trace.get_tracer("app").start_as_current_span("app") as outer:
        cascade.classify(SURE)
    parent = named(spans, "classify").parent
    assert parent is not None
    assert parent.span_id == outer.get_span_context().span_id


def test_what_goes_wrong_is_named_by_its_kind_and_no_text_is_in_any_span(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with load(tiny_home, tmp_path, fails, strategy="tiered") as cascade:
        cascade.classify(NEW, id=NEW)
        with pytest.raises(TypeError):
            cascade.classify(7)  # type: ignore[arg-type]
    failed, wrong = (span for span in spans.get_finished_spans() if not span.status.is_ok)
    assert (said(failed)["status"], failed.status.description) == ("error", TeacherError.__name__)
    assert (wrong.name, wrong.status.description) == ("monoku.classify", "TypeError")
    assert not [span for span in spans.get_finished_spans() if "private" in span.to_json()]


class Mute:
    """A teacher that says nothing at all."""

    name, prompt_id = "mute", ""

    async def ask(self, text: str, timeout_s: float) -> Any:
        return None

    def worst_case(self, text: str) -> int:
        return 0

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("on", [True, False])
def test_what_is_wrong_with_a_teachers_reply_is_said_with_spans_as_without(
    tiny_home: Path, tmp_path: Path, on: bool
) -> None:
    with load(tiny_home, tmp_path, Mute(), strategy="tiered", spans=on) as cascade:
        reason = cascade.classify(NEW).reason
    assert reason is not None
    assert "the teacher must return a Reply, got NoneType" in reason


def test_a_teacher_that_is_asked_in_the_background_has_the_request_as_its_parent_all_the_same(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    settings = {"strategy": "tiered", "deferral": "background"}
    with load(tiny_home, tmp_path, lambda text: "account", **settings) as cascade:
        cascade.classify(NEW)
        wait_until(lambda: any(span.name == "monoku.teacher" for span in spans.get_finished_spans()))
    parent = named(spans, "teacher").parent
    assert parent is not None
    assert parent.span_id == named(spans, "classify").context.span_id


def test_whoever_asks_for_no_spans_has_none_and_loads_nothing_for_them(
    tiny_home: Path, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with load(tiny_home, tmp_path, lambda text: "account", spans=False) as cascade:
        cascade.classify(NEW)
    assert type(cascade) is Cascade
    assert not spans.get_finished_spans()
    program = "import sys, inference.cascade; print([n for n in sys.modules if n.startswith('opentelemetry')])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"[]\n"
