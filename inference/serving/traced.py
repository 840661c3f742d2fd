"""OpenTelemetry spans around requests and calls to teachers, for the setting `spans` (extra `otel`). No text is in one.

What comes of the spans is for the application to say: without the SDK and an exporter of its own they go nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, Status, StatusCode

from inference.common.shown import without_logins
from inference.money.prices import dollars
from inference.serving.answer import Answer
from inference.teachers.teacher import Reply, Teacher, TeacherError

if TYPE_CHECKING:
    from inference.cascade import Cascade as Base
else:
    Base = object  # which class it is, only whoever loads one knows

PREFIX = "monoku."
_SHOWN = {PREFIX + name: name for name in ("source", "intent", "accepted", "cached", "deferred", "cost_usd")}
_tracer = trace.get_tracer("monoku")


class Around:
    """A span that is the current one meanwhile. `start_as_current_span` takes six times as long, and keeps messages of
    exceptions, in which a text may be."""

    def __init__(self, name: str) -> None:
        self._span = _tracer.start_span(PREFIX + name)

    def __enter__(self) -> Span:
        self._token = attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        detach(self._token)
        if kind is not None:
            self._span.set_status(Status(StatusCode.ERROR, kind.__name__))
        self._span.end()


class Traced(Base):
    """The methods of a Cascade that answer, each within a span."""

    def classify(self, text: str, id: str | None = None) -> Answer:
        """See Cascade."""
        with Around("classify") as span:
            return _shown(span, super().classify(text, id))

    async def aclassify(self, text: str, id: str | None = None) -> Answer:
        """See Cascade."""
        with Around("classify") as span:
            return _shown(span, await super().aclassify(text, id))

    def classify_many(self, texts: Iterable[str]) -> list[Answer]:
        """See Cascade. One span for all of them."""
        with Around("classify_many") as span:
            answers = super().classify_many(texts)
            span.set_attribute(PREFIX + "texts", len(answers))
            return answers


def traced(kind: type[Base]) -> type[Base]:
    """The cascade's class with spans."""
    return cast("type[Base]", type(kind.__name__, (Traced, kind), {}))


class TracedTeacher:
    """A teacher whose calls have spans: children of the request's on whose behalf it is asked."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        names = {"teacher": without_logins(teacher.name), "model": getattr(teacher, "model", None)}
        self._attributes = {PREFIX + name: value for name, value in names.items() if isinstance(value, str)}

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """See Teacher."""
        with Around("teacher") as span:
            span.set_attributes(self._attributes)
            try:
                reply = await self._teacher.ask(text, timeout_s)
            except TeacherError as error:
                span.set_attribute(PREFIX + "status", error.kind)
                raise
            if isinstance(reply, Reply) and type(reply.nano) is int:  # whoever asked says what is wrong with another
                status = "refused" if reply.label is None else "answered"
                span.set_attributes({PREFIX + "status": status, PREFIX + "cost_usd": dollars(reply.nano)})
            return reply

    @property
    def name(self) -> str:
        """See Teacher."""
        return self._teacher.name

    @property
    def prompt_id(self) -> str:
        """See Teacher."""
        return self._teacher.prompt_id

    def worst_case(self, text: str) -> int:
        """See Teacher."""
        return self._teacher.worst_case(text)

    async def close(self) -> None:
        """See Teacher."""
        await self._teacher.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._teacher, name)


def _shown(span: Span, answer: Answer) -> Answer:
    if span.is_recording():
        span.set_attributes(
            {key: value for key, name in _SHOWN.items() if (value := getattr(answer, name)) is not None}
        )
    return answer
