"""Whether a cascade has spans. OpenTelemetry is imported only where it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from inference.common.extras import needing
from inference.serving.policy import Policy
from inference.teachers.teacher import Teacher

if TYPE_CHECKING:
    from inference.cascade import Cascade


def with_spans(
    policy: Policy, kind: type[Cascade], teachers: Sequence[Teacher]
) -> tuple[type[Cascade], Sequence[Teacher]]:
    """The class of a cascade and its teachers, with spans where the policy asks for them.

    Raises MonokuError if the extra `otel` is not installed then.
    """
    if not policy.spans:
        return kind, teachers
    with needing("otel", "the setting spans"):
        from inference.serving.traced import TracedTeacher, traced
    return traced(kind), [TracedTeacher(teacher) for teacher in teachers]
