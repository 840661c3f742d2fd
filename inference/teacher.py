"""Teachers: whatever can be asked for the intent of a query, behind one small interface.

An LLM over HTTP (inference/remote.py), any function that a team already has, or answers recorded in a file. A teacher
answers with a `Reply`, whose label is always of the taxonomy, or raises TeacherError, which says what may be done next.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from inference.prices import Usage
from inference.prompt import Prompt, Refused
from inference.taxonomy import Taxonomy

HAIKU = "anthropic:claude-haiku-5-5"
FORMS = "anthropic:MODEL[@URL], openai:MODEL[@URL], recorded:FILE or python:MODULE:FUNCTION"


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a teacher.

    `label` is None where the teacher refused or named no intent; `refusal` then says why, and `again` whether asking
    again may help. `nano` is what was charged, in nano-dollars. `latency_s` is None where nobody knows.
    """

    label: str | None
    refusal: str | None = None
    again: bool = False
    usage: Usage = NO_USAGE
    nano: int = 0
    latency_s: float | None = None


class TeacherError(Exception):
    """No answer came. The message is one line for a person.

    `kind` is a short word for counting; `again`: a later try may succeed; `fatal`: no query will fare better until
    somebody changes something (the key, the model's name, the account); `retry_after_s`: what the server asked for;
    `unsure`: an answer may have been generated, and charged, that never arrived.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        again: bool = False,
        fatal: bool = False,
        retry_after_s: float | None = None,
        unsure: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.again = again
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.unsure = unsure


@runtime_checkable
class Teacher(Protocol):
    """What labelling and the cascade need of a teacher."""

    @property
    def name(self) -> str:
        """Who labelled, as rows of data carry it."""

    @property
    def prompt_id(self) -> str:
        """The content id of the question that is asked."""

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """The intent of `text` within `timeout_s` seconds in all. Raises TeacherError."""

    def worst_case(self, text: str) -> int:
        """Nano-dollars that asking once cannot exceed."""

    async def close(self) -> None:
        """Let go of connections."""


LabelFunction = Callable[[str], str | Awaitable[str]]


class FunctionTeacher:
    """A function `text -> label` that a team already has, sync or async; `usd` is what one call costs them.

    A sync function runs in a thread. When it outlasts its time the caller goes on, and its thread ends when it does.
    """

    def __init__(self, function: LabelFunction, taxonomy: Taxonomy, name: str = "", usd: float = 0.0) -> None:
        if not callable(function):
            raise TypeError(f"a teacher must be callable, got {type(function).__name__}")
        self.function = function
        self.name = name or f"python:{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self.nano = round(usd * 1e9)

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """See Teacher."""
        start = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                label = await self._call(text)
        except TimeoutError as error:
            raise TeacherError("timeout", f"{self.name} took over {timeout_s:g} s", again=True, unsure=True) from error
        except Exception as error:  # another's code may raise anything
            raise TeacherError("error", f"{self.name}: {type(error).__name__}: {error}", again=True) from error
        taken = asyncio.get_running_loop().time() - start
        try:
            return Reply(self.prompt.match(label), nano=self.nano, latency_s=taken)
        except Refused as refusal:
            return Reply(None, str(refusal), again=True, nano=self.nano, latency_s=taken)

    async def _call(self, text: str) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(text)
        answer = await asyncio.to_thread(self.function, text)
        return await answer if inspect.isawaitable(answer) else answer

    def worst_case(self, text: str) -> int:
        """See Teacher."""
        return self.nano

    async def close(self) -> None:
        """See Teacher."""


class RecordedTeacher:
    """Answers from a file of JSON lines with `text` and `label`, and `latency_ms` and `cost_usd` where recorded.

    With `replay_latency` an answer takes as long as the recorded one did. A text that the file lacks is a TeacherError.
    """

    def __init__(self, path: str | Path, taxonomy: Taxonomy, replay_latency: bool = False) -> None:
        self.name = f"recorded:{path}"
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self.replay_latency = replay_latency
        self.answers = _read_recorded(Path(path))

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """See Teacher."""
        row = self.answers.get(text)
        if row is None:
            raise TeacherError("missing", f"{self.name} has no answer for {text[:60]!r}")
        latency = row["latency_ms"] / 1000 if "latency_ms" in row else None
        if self.replay_latency and latency:
            await asyncio.sleep(min(latency, timeout_s))
            if latency > timeout_s:
                raise TeacherError("timeout", f"the recorded answer took {latency:g} s, over {timeout_s:g} s")
        nano = self.worst_case(text)
        try:
            return Reply(self.prompt.match(row["label"]), nano=nano, latency_s=latency)
        except Refused as refusal:
            return Reply(None, str(refusal), nano=nano, latency_s=latency)

    def worst_case(self, text: str) -> int:
        """See Teacher."""
        return round(float(self.answers.get(text, {}).get("cost_usd", 0.0)) * 1e9)

    async def close(self) -> None:
        """See Teacher."""


def _read_recorded(path: Path) -> Mapping[str, dict[str, Any]]:
    answers: dict[str, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"recorded answers cannot be read from {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            answers[row["text"]] = {**row, "label": row["label"]}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: expected an object with text and label, got {line[:60]!r}") from error
    return answers


def open_teacher(spec: str | Teacher | LabelFunction, taxonomy: Taxonomy) -> Teacher:
    """A teacher by its short name (see FORMS), from a function, or as it is.

    Raises ValueError for a name of another form, and where its file, function, extra or price is missing.
    """
    if not isinstance(spec, str):
        return spec if isinstance(spec, Teacher) else FunctionTeacher(spec, taxonomy)
    kind, _, rest = spec.partition(":")
    model, _, url = rest.partition("@")
    if kind in ("anthropic", "openai") and model:
        from inference.remote import AnthropicTeacher, OpenAITeacher

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
        raise ValueError(f"no function {path}: {error}") from error
    return found
