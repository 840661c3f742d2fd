"""Teachers that need no network: a custom function, or answers recorded in a file."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.common import jsonl
from inference.teachers.prompt import Prompt, Refused
from inference.teachers.teacher import Reply, TeacherError

LabelFunction = Callable[[str], str | Awaitable[str]]


class FunctionTeacher:
    """A function `text -> label` that a team already has, sync or async; `usd` is what one call costs them, None where
    nobody knows.

    A sync function runs in a thread. When it outlasts its time the caller goes on, and its thread ends when it does.
    """

    def __init__(self, function: LabelFunction, taxonomy: Taxonomy, name: str = "", usd: float | None = None) -> None:
        if not callable(function):
            raise TypeError(f"a teacher must be callable, got {type(function).__name__}")
        self.function = function
        self.name = name or f"python:{function.__module__}:{getattr(function, '__qualname__', type(function).__name__)}"
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self.nano = round((usd or 0.0) * 1e9)
        self.priced = usd is not None

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """See Teacher."""
        start = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                label = await self._guarded(text)
        except TimeoutError as error:
            raise TeacherError("timeout", f"{self.name} took over {timeout_s:g} s", again=True, unsure=True) from error
        taken = asyncio.get_running_loop().time() - start
        try:
            return Reply(self.prompt.match(label), nano=self.nano, latency_s=taken)
        except Refused as refusal:
            return Reply(None, str(refusal), again=True, nano=self.nano, latency_s=taken)

    async def _guarded(self, text: str) -> Any:
        try:
            return await self._call(text)
        except BaseException as error:  # another's code may raise anything, an exit too
            task = asyncio.current_task()
            ended = isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling()
            if ended or isinstance(error, GeneratorExit | TeacherError):
                raise
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> TeacherError:
        return TeacherError("error", f"{self.name}: {type(error).__name__}: {error}", again=True)

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

    A text that the file lacks is a TeacherError.
    """

    def __init__(self, path: str | Path, taxonomy: Taxonomy) -> None:
        self.name = f"recorded:{path}"
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self.answers = _read_recorded(Path(path))

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """See Teacher."""
        row = self.answers.get(text)
        if row is None:
            raise TeacherError("missing", f"{self.name} has no answer for {text[:60]!r}")
        latency = row["latency_ms"] / 1000 if "latency_ms" in row else None
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
        for place, row in jsonl.read(path):
            if "label" not in row or not isinstance(row.get("text"), str):
                raise ValueError(f"{place}: expected an object with text and label, got {str(row)[:60]}")
            answers[row["text"]] = row
    except OSError as error:
        raise ValueError(f"recorded answers cannot be read from {path}: {error}") from error
    return answers
