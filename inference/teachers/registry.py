"""Teachers by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.own import FunctionTeacher, LabelFunction, RecordedTeacher
from inference.teachers.teacher import Teacher

TeacherSpec = str | Teacher | LabelFunction
HAIKU = "anthropic:claude-haiku-5-5"
FORMS = (
    "anthropic:MODEL[@URL], openai:MODEL[@URL], bedrock:MODEL[@URL], vertex:MODEL[@URL], recorded:FILE or "
    "python:MODULE:FUNCTION"
)


def open_teacher(spec: TeacherSpec, taxonomy: Taxonomy) -> Teacher:
    """A teacher by its short name (see FORMS), from a function, or as it is.

    Raises ValueError if the name has another form, or its file, function, extra or price is missing.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, Teacher) else FunctionTeacher(spec, taxonomy)
    kind, _, rest = spec.partition(":")
    if kind in ("anthropic", "openai", "bedrock", "vertex") and rest:
        return _remote(kind, rest, taxonomy)
    if kind == "recorded" and rest:
        return RecordedTeacher(rest, taxonomy)
    if kind == "python" and rest.count(":") == 1:
        return FunctionTeacher(_import(rest), taxonomy, spec)
    raise ValueError(f"unknown teacher {spec!r}; expected {FORMS}")


def open_teachers(specs: TeacherSpec | Sequence[TeacherSpec], taxonomy: Taxonomy) -> list[Teacher]:
    """One teacher or several, in order. Raises what `open_teacher` does."""
    given = [specs] if isinstance(specs, str) or not isinstance(specs, Sequence) else specs
    return [open_teacher(spec, taxonomy) for spec in given]


def _remote(kind: str, rest: str, taxonomy: Taxonomy) -> Teacher:
    from inference.teachers.claude import AnthropicTeacher
    from inference.teachers.clouds import BedrockTeacher, VertexTeacher
    from inference.teachers.openai import OpenAITeacher

    # Vertex has models with an @ in their names.
    model, _, url = rest.partition("@http") if kind == "vertex" else rest.partition("@")
    url = f"http{url}" if kind == "vertex" and url else url
    if not model:
        raise ValueError(f"unknown teacher {kind}:{rest!r}; expected {FORMS}")
    if kind == "openai":
        return OpenAITeacher(model, taxonomy, base_url=url or None)
    made = {"anthropic": AnthropicTeacher, "bedrock": BedrockTeacher, "vertex": VertexTeacher}[kind]
    return made(model, taxonomy, base_url=url or None)


def _import(path: str) -> LabelFunction:
    module, _, name = path.partition(":")
    try:
        found: LabelFunction = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the teacher python:{path} cannot be imported: {error}") from error
    return found
