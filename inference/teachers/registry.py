"""Teachers by name."""

from __future__ import annotations

import importlib

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.own import FunctionTeacher, LabelFunction, RecordedTeacher
from inference.teachers.teacher import Teacher

HAIKU = "anthropic:claude-haiku-5-5"
FORMS = "anthropic:MODEL[@URL], openai:MODEL[@URL], recorded:FILE or python:MODULE:FUNCTION"


def open_teacher(spec: str | Teacher | LabelFunction, taxonomy: Taxonomy) -> Teacher:
    """A teacher by its short name (see FORMS), from a function, or as it is.

    Raises ValueError if the name has another form, or its file, function, extra or price is missing.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, Teacher) else FunctionTeacher(spec, taxonomy)
    kind, _, rest = spec.partition(":")
    model, _, url = rest.partition("@")
    if kind in ("anthropic", "openai") and model:
        from inference.teachers.claude import AnthropicTeacher
        from inference.teachers.openai import OpenAITeacher

        return (AnthropicTeacher if kind == "anthropic" else OpenAITeacher)(model, taxonomy, base_url=url or None)
    if kind == "recorded" and rest:
        return RecordedTeacher(rest, taxonomy)
    if kind == "python" and rest.count(":") == 1:
        return FunctionTeacher(_import(rest), taxonomy, spec)
    raise ValueError(f"unknown teacher {spec!r}; expected {FORMS}")


def _import(path: str) -> LabelFunction:
    module, _, name = path.partition(":")
    try:
        found: LabelFunction = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the teacher python:{path} cannot be imported: {error}") from error
    return found
