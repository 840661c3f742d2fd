"""Batches of both SDKs: half the price, and an answer within a day.

A request is known by a custom id that the caller chooses. Every call raises TeacherError; its kind is "gone" where the
provider says that it has no such batch, and "deleted" where it has no results of it any more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from inference.teachers.claude import AnthropicTeacher
from inference.teachers.failures import in_batch, in_openai_batch
from inference.teachers.http import Remote
from inference.teachers.openai import OpenAITeacher
from inference.teachers.teacher import Reply, Teacher, TeacherError

CALL_S = 300.0
GONE, DELETED = "gone", "deleted"
GONE_STATUSES = (404, 410)
ENDPOINT = "/v1/chat/completions"
NONCE = "monoku"  # the name under which OpenAI keeps a batch's nonce
ENDED = ("completed", "failed", "expired", "cancelled")
Result = tuple[str, Reply | TeacherError]


@dataclass(frozen=True, slots=True)
class AccountBatch:
    """A batch among the account's: its id, its number of requests, and its nonce; None where the API keeps none."""

    id: str
    requests: int
    nonce: str | None = None


class Batches(Protocol):
    """What labelling needs of an API's batches."""

    def worst_case(self, text: str) -> int:
        """Nano-dollars that one request of a batch cannot exceed."""

    def fitting(self, texts: Sequence[str]) -> int:
        """How many of `texts`, from the first on, one batch can hold; at least one."""

    async def create(self, nonce: str, texts: Mapping[str, str]) -> str:
        """Send the texts, by custom id, and return the batch's id."""

    async def since(self, moment: float) -> list[AccountBatch]:
        """The account's batches since `moment` (seconds since 1970), newest first."""

    async def ended(self, batch: str) -> bool:
        """Whether a batch is through, so that its results can be read."""

    async def first_custom_id(self, batch: str) -> str | None:
        """The custom id of a result of an ended batch: it shows whose the batch is."""

    async def results(self, batch: str, custom_ids: Sequence[str]) -> list[Result]:
        """(custom id, what came of it) of every request of an ended batch."""


def batches_of(teacher: Teacher) -> Batches:
    """The batches of a teacher's API. Raises ValueError if it has none."""
    if isinstance(teacher, AnthropicTeacher) and teacher.has_batches:
        return AnthropicBatches(teacher)
    if isinstance(teacher, OpenAITeacher):
        return OpenAIBatches(teacher)
    forms = "anthropic:MODEL or openai:MODEL"
    raise ValueError(f"batches need a teacher {forms}, {teacher.name} has none; use --mode sync")


def _fitting(requests: Iterator[Any], most: int, most_bytes: int) -> int:
    total = number = 0
    for number, request in enumerate(requests, 1):
        total += len(json.dumps(request)) + 200
        if number > 1 and (total > most_bytes or number > most):
            return number - 1
    return number


@contextlib.contextmanager
def _known(teacher: Remote, batch: str, kind: str = GONE) -> Iterator[None]:
    """Tell a batch, or with another `kind` its results, that the API does not know from an API that fails."""
    try:
        yield
    except teacher.sdk.APIStatusError as error:
        if error.status_code in GONE_STATUSES:
            raise TeacherError(kind, f"{teacher.name} answered {error.status_code} about the batch {batch}") from error
        raise


class AnthropicBatches:
    """Message Batches. They keep no nonce: whose a batch is shows in its results alone."""

    most, most_bytes = 100_000, 200_000_000  # the API takes 256 MB

    def __init__(self, teacher: AnthropicTeacher) -> None:
        self.teacher = teacher

    def worst_case(self, text: str) -> int:
        """See Batches."""
        return self.teacher.worst_case(text, batch=True)

    def fitting(self, texts: Sequence[str]) -> int:
        """See Batches."""
        return _fitting((self._params(text) for text in texts), self.most, self.most_bytes)

    async def create(self, nonce: str, texts: Mapping[str, str]) -> str:
        """See Batches."""
        requests = [{"custom_id": custom_id, "params": self._params(text)} for custom_id, text in texts.items()]
        async with self.teacher.limited(CALL_S):
            made = await self._api.create(requests=requests, timeout=CALL_S)
        return str(made.id)

    async def since(self, moment: float) -> list[AccountBatch]:
        """See Batches."""
        found = []
        async with self.teacher.limited(CALL_S):
            async for other in self._api.list(limit=100, timeout=CALL_S):
                if other.created_at.timestamp() < moment:
                    break
                counts = other.request_counts
                total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
                found.append(AccountBatch(str(other.id), total))
        return found

    async def ended(self, batch: str) -> bool:
        """See Batches."""
        async with self.teacher.limited(CALL_S):
            with _known(self.teacher, batch):
                found = await self._api.retrieve(batch, timeout=CALL_S)
        if found.archived_at is not None:
            raise TeacherError(DELETED, f"{self.teacher.name} has deleted the results of the batch {batch}")
        return bool(found.processing_status == "ended")

    async def first_custom_id(self, batch: str) -> str | None:
        """See Batches."""
        async with self.teacher.limited(CALL_S):
            async for row in await self._api.results(batch, timeout=CALL_S):
                return str(row.custom_id)
        return None

    async def results(self, batch: str, custom_ids: Sequence[str]) -> list[Result]:
        """See Batches."""
        async with self.teacher.limited(CALL_S):
            with _known(self.teacher, batch):
                rows = await self._api.results(batch, timeout=CALL_S)
            return [(row.custom_id, self.teacher.row(partial(self._row, row.result))) async for row in rows]

    def _row(self, result: Any) -> Reply | TeacherError:
        if result.type == "succeeded":
            return self.teacher.read(result.message, batch=True)
        return in_batch(self.teacher.name, result)

    def _params(self, text: str) -> dict[str, Any]:
        return self.teacher.params(text, "1h")

    @property
    def _api(self) -> Any:
        return self.teacher.client().messages.batches


class OpenAIBatches:
    """Batches of OpenAI's API: a file of requests, and files of results."""

    most, most_bytes = 50_000, 150_000_000  # the API takes 200 MB

    def __init__(self, teacher: OpenAITeacher) -> None:
        self.teacher = teacher

    def worst_case(self, text: str) -> int:
        """See Batches."""
        return self.teacher.worst_case(text, batch=True)

    def fitting(self, texts: Sequence[str]) -> int:
        """See Batches."""
        return _fitting((self.teacher.request(text) for text in texts), self.most, self.most_bytes)

    async def create(self, nonce: str, texts: Mapping[str, str]) -> str:
        """See Batches."""
        calls = ({"custom_id": name, "body": self.teacher.request(text)} for name, text in texts.items())
        lines = "".join(json.dumps({**call, "method": "POST", "url": ENDPOINT}) + "\n" for call in calls)
        async with self.teacher.limited(CALL_S):
            client = self.teacher.client()
            file = (f"{NONCE}-{nonce}.jsonl", lines.encode())
            sent = await client.files.create(file=file, purpose="batch", timeout=CALL_S)
            made = await client.batches.create(
                input_file_id=sent.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={NONCE: nonce},
                timeout=CALL_S,
            )
        return str(made.id)

    async def since(self, moment: float) -> list[AccountBatch]:
        """See Batches."""
        found = []
        async with self.teacher.limited(CALL_S):
            async for other in self.teacher.client().batches.list(limit=100, timeout=CALL_S):
                if other.created_at < moment:
                    break
                total = other.request_counts.total if other.request_counts else 0
                found.append(AccountBatch(str(other.id), total, (other.metadata or {}).get(NONCE, "")))
        return found

    async def ended(self, batch: str) -> bool:
        """See Batches."""
        return (await self._retrieve(batch)).status in ENDED

    async def first_custom_id(self, batch: str) -> str | None:
        """See Batches."""
        return None  # its nonce shows whose it is

    async def results(self, batch: str, custom_ids: Sequence[str]) -> list[Result]:
        """See Batches."""
        found = await self._retrieve(batch)
        rows: dict[str, Reply | TeacherError] = {}
        for file in (found.output_file_id, found.error_file_id):
            if file:
                rows |= await self._read(batch, file)
        # A batch that failed as a whole has no files; one that expired or was cancelled may lack rows.
        problems = found.errors.data if found.errors and found.errors.data else []
        first = problems[0] if problems else None
        absent = {"code": getattr(first, "code", None), "message": getattr(first, "message", None) or found.status}
        missing = [name for name in custom_ids if name not in rows]
        status = 400 if first else 500
        return [*rows.items(), *((name, in_openai_batch(self.teacher.name, status, absent)) for name in missing)]

    async def _retrieve(self, batch: str) -> Any:
        async with self.teacher.limited(CALL_S):
            with _known(self.teacher, batch):
                return await self.teacher.client().batches.retrieve(batch, timeout=CALL_S)

    async def _read(self, batch: str, file: str) -> dict[str, Reply | TeacherError]:
        async with self.teacher.limited(CALL_S):
            with _known(self.teacher, batch, DELETED):
                content = (await self.teacher.client().files.content(file, timeout=CALL_S)).content
            lines = [json.loads(line) for line in content.decode("utf-8").splitlines() if line.strip()]
            return {str(line["custom_id"]): self.teacher.row(partial(self._row, line)) for line in lines}

    def _row(self, line: Mapping[str, Any]) -> Reply | TeacherError:
        answer = line.get("response") or {}
        if answer.get("status_code") == 200:
            completion = self.teacher.sdk.types.chat.ChatCompletion.construct(**answer["body"])
            return self.teacher.read(completion, batch=True)
        said = line.get("error") or (answer.get("body") or {}).get("error") or {}
        return in_openai_batch(self.teacher.name, answer.get("status_code") or 500, said)
