"""Teachers over HTTP: Claude through Anthropic's SDK, and any OpenAI-compatible server through OpenAI's.

The SDKs are imported when a teacher is made. Their own retries are off and their timeouts are per operation, so a
server that dribbles outlasts them: every call has a total limit here, and whoever calls decides about another try.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any, TypedDict

from inference.bundle.taxonomy import Taxonomy
from inference.common.shown import without_logins
from inference.money.prices import Usage
from inference.teachers.failures import answered, in_answer
from inference.teachers.prompt import Examples, Prompt, Refused
from inference.teachers.teacher import Reply, TeacherError

MAX_TOKENS = 64  # an intent as JSON, or more where a taxonomy has a longer name
MOST_TOKENS = 10**9  # of one answer: what says more is wrong, and no ledger could book it
AROUND_NAME = 20  # tokens at most of the JSON around a name, which itself has at most one for each byte
THINKING_TOKENS = 1024  # more for a model that cannot be kept from thinking
NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # exceptions of the SDKs' HTTP client


class Charged(TypedDict):
    """What a Reply says of cost and time."""

    usage: Usage
    nano: int
    latency_s: float | None


class Remote:
    """What both have in common: one client per event loop, a total limit, errors as TeacherError."""

    package: str
    kind: str  # what a teacher's name begins with
    extra: str
    optional: tuple[str, ...]  # parameters that a request can do without, by the names that servers refuse them under

    def __init__(self, model: str, taxonomy: Taxonomy, base_url: str | None, api_key: str | None) -> None:
        try:
            self.sdk: Any = importlib.import_module(self.package)
        except ImportError as error:
            wanted = f'pip install "monoku[{self.extra}]"'
            raise ValueError(f"the teacher {self.kind}:{model} needs {wanted}") from error
        self.model = model
        self.name = without_logins(f"{self.kind}:{model}" + (f"@{base_url}" if base_url else ""))
        self.base_url = base_url
        self.api_key = api_key
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self._answer_tokens = max(MAX_TOKENS, *(len(name.encode()) + AROUND_NAME for name in taxonomy.names))
        self.left_out: frozenset[str] = frozenset()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def show(self, examples: Examples) -> None:
        """Show labelled messages with each query from now on: another question, so `prompt_id` changes."""
        self.prompt = self.prompt.with_examples(examples)
        self.prompt_id = self.prompt.id

    def client(self) -> Any:
        """The SDK's async client of the running event loop; connections do not move between loops."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._connect(), loop
        return self._client

    def _connect(self) -> Any:
        raise NotImplementedError

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """The intent of `text`. Raises TeacherError if no answer came.

        A parameter that the server refuses, and that a request can do without, is left out from then on.
        """
        now = asyncio.get_running_loop().time
        start = now()
        while True:
            sent, left_s = self.left_out, timeout_s - (now() - start)
            try:
                async with self.limited(left_s):
                    answer = await self._send(text, left_s)
                    self.raise_for(answer)
                    return self.read(answer, now() - start)
            except TeacherError as error:
                self._leave_out(error, sent)

    def raise_for(self, said: Any) -> None:
        """Raise the error that a gateway sends in the place of an answer, or in one."""
        for part in (said, *(getattr(said, "choices", None) or ())):
            if error := getattr(part, "error", None):
                raise in_answer(self.name, error)

    def _leave_out(self, error: TeacherError, sent: frozenset[str]) -> None:
        """Raise what a request without the parameter that was refused would not help against."""
        refused = {name for name in self.optional if name not in sent and name in str(error)}
        if error.kind != "parameter" or not refused:
            raise error
        before = self.max_tokens
        self.left_out |= refused
        if self.max_tokens > before:  # it may cost more than was reserved for it
            raise TeacherError(error.kind, f"{error} (the next request goes without)", again=True) from error

    @property
    def max_tokens(self) -> int:
        """Of one answer."""
        return self._answer_tokens + (THINKING_TOKENS if self._thinks() else 0)

    def _thinks(self) -> bool:
        raise NotImplementedError

    async def _send(self, text: str, timeout_s: float) -> Any:
        raise NotImplementedError

    def read(self, answer: Any, latency_s: float | None = None) -> Reply:
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def limited(self, timeout_s: float) -> AsyncIterator[None]:
        """A total limit around calls of the SDK and the reading of their answers; whatever fails is TeacherError."""
        with self.errors(timeout_s):
            async with asyncio.timeout(timeout_s):
                yield

    @contextlib.contextmanager
    def errors(self, timeout_s: float) -> Iterator[None]:
        """Turn whatever the SDK raises, or the reading of an invalid answer, into TeacherError."""
        try:
            yield
        except (TimeoutError, self.sdk.APITimeoutError) as error:
            text = f"{self.name} took over {timeout_s:g} s"
            raise TeacherError("timeout", text, again=True, unsure=True) from error
        except self.sdk.APIStatusError as error:
            raise answered(self.name, error) from error
        except self.sdk.APIConnectionError as error:
            raise self._connection_error(error) from error
        except (AttributeError, IndexError, RecursionError, TypeError, ValueError, self.sdk.APIError) as error:
            # A body that is not JSON, or not a message: a proxy's page, say.
            text = f"{self.name} sent an invalid response: {type(error).__name__}: {error}"
            raise TeacherError("unreadable", text, again=True, unsure=True) from error

    def row(self, read: Callable[[], Reply | TeacherError]) -> Reply | TeacherError:
        """What `read` makes of a batch's row, or why it cannot: one that is invalid spoils no other."""
        try:
            with self.errors(0):
                return read()
        except TeacherError as error:
            return error

    def _connection_error(self, error: Exception) -> TeacherError:
        causes = _causes(error)
        text = f"{self.name} cannot be reached: {causes[-1] if causes else error}"
        # What failed to connect was never sent; a connection lost later may have carried a charged answer.
        unsure = not any(type(cause).__name__ in NEVER_SENT for cause in causes)
        return TeacherError("connection", text, again=True, unsure=unsure)

    def _prompt_bytes(self, text: str) -> int:
        parts = (self.prompt.system, self.prompt.message(text), str(self.prompt.schema()))
        return sum(len(part.encode("utf-8", "replace")) for part in parts)

    def _no_key(self, variable: str) -> TeacherError:
        return TeacherError("key", f"{self.name} needs an API key: set {variable}", fatal=True)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.close()
        self._client = None


def to_usage(read: Callable[[Any], Usage], given: Any) -> Usage:
    """What an answer says of its tokens; nothing where that cannot be read: it then counts as the dearest there is."""
    try:
        usage = Usage.from_dict(asdict(read(given)))
    except (AttributeError, TypeError, ValueError):
        return Usage()
    return usage if max(asdict(usage).values()) <= MOST_TOKENS else Usage()


def to_reply(prompt: Prompt, text: str, cut_at: int | None, charged: Charged) -> Reply:
    """A model's text as a Reply: an intent of the taxonomy, or the reason why it is not one.

    `cut_at` is the limit of tokens that cut it off, if one did.
    """
    try:
        return Reply(prompt.parse(text), **charged)
    except Refused as refusal:
        return Reply(None, str(refusal) if cut_at is None else _why_cut(text, cut_at), again=True, **charged)


def only_thought(text: str) -> bool:
    """Whether an answer that was cut off had not begun yet."""
    return not text.partition("<think>")[0].strip()


def _why_cut(text: str, cut_at: int) -> str:
    thinking = f": this model spends its {cut_at} tokens on thinking" if only_thought(text) else ""
    return f"cut off at {cut_at} tokens{thinking}"


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (cause := error.__cause__ or error.__context__) is not None and len(found) < 8:
        found.append(cause)
        error = cause
    return found
