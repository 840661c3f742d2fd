"""Teachers over HTTP: Claude through Anthropic's SDK, and any OpenAI-compatible server through OpenAI's.

The SDKs are imported when a teacher is made. Their own retries are off and their timeouts are per operation, so a
server that dribbles outlasts them: every call has a total limit here, and whoever calls decides about another try.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypedDict
from urllib.parse import urlsplit

from inference.failures import answered
from inference.prices import Usage, cost, price_of, worst_case
from inference.prompt import Prompt, Refused, message
from inference.taxonomy import Taxonomy
from inference.teacher import Reply, TeacherError

MAX_TOKENS = 64  # an intent as JSON; the longest name of a taxonomy must fit
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
NEVER_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")  # exceptions of the SDKs' HTTP client


class Charged(TypedDict):
    """What a Reply says of cost and time."""

    usage: Usage
    nano: int
    latency_s: float | None


class _Remote:
    """What both have in common: one client per event loop, a total limit, errors as TeacherError."""

    package: str
    extra: str

    def __init__(self, model: str, taxonomy: Taxonomy, base_url: str | None, api_key: str | None) -> None:
        try:
            self.sdk: Any = importlib.import_module(self.package)
        except ImportError as error:
            wanted = f'pip install "monoku[{self.extra}]"'
            raise ValueError(f"the teacher {self.package}:{model} needs {wanted}") from error
        self.model = model
        self.name = f"{self.package}:{model}" + (f"@{base_url}" if base_url else "")
        self.base_url = base_url
        self.api_key = api_key
        self.prompt = Prompt.of(taxonomy)
        self.prompt_id = self.prompt.id
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self) -> Any:
        """The SDK's async client of the running event loop; connections do not move between loops."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._connect(), loop
        return self._client

    def _connect(self) -> Any:
        raise NotImplementedError

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """The intent of `text`. Raises TeacherError."""
        start = asyncio.get_running_loop().time()
        async with self.limited(timeout_s):
            answer = await self._send(text, timeout_s)
            return self.read(answer, asyncio.get_running_loop().time() - start)

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
        """Turn whatever the SDK raises, or the reading of what is no answer, into TeacherError."""
        try:
            yield
        except (TimeoutError, self.sdk.APITimeoutError) as error:
            text = f"{self.name} took over {timeout_s:g} s"
            raise TeacherError("timeout", text, again=True, unsure=True) from error
        except self.sdk.APIStatusError as error:
            raise answered(self.name, error) from error
        except self.sdk.APIConnectionError as error:
            raise self._connection_error(error) from error
        except (AttributeError, IndexError, TypeError, ValueError, self.sdk.APIError) as error:
            # A body that is no JSON, or JSON but no message: a proxy's page, say.
            text = f"{self.name} sent something unreadable: {type(error).__name__}: {error}"
            raise TeacherError("unreadable", text, again=True, unsure=True) from error

    def _connection_error(self, error: Exception) -> TeacherError:
        causes = _causes(error)
        text = f"{self.name} cannot be reached: {causes[-1] if causes else error}"
        # What failed to connect was never sent; a connection lost later may have carried a charged answer.
        unsure = not any(type(cause).__name__ in NEVER_SENT for cause in causes)
        return TeacherError("connection", text, again=True, unsure=unsure)

    def _prompt_bytes(self, text: str) -> int:
        parts = (self.prompt.system, message(text), str(self.prompt.schema()))
        return sum(len(part.encode("utf-8", "replace")) for part in parts)

    def _no_key(self, variable: str) -> TeacherError:
        return TeacherError("key", f"{self.name} needs an API key: set {variable}", fatal=True)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.close()
        self._client = None


class AnthropicTeacher(_Remote):
    """Claude, asked with thinking off, low effort, an enum for the answer and a cached system text.

    `base_url` and `api_key` default to the SDK's own environment variables. Raises ValueError for a model without a
    price and where the extra `haiku` is not installed.
    """

    package = "anthropic"
    extra = "haiku"

    def __init__(
        self, model: str, taxonomy: Taxonomy, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        super().__init__(model, taxonomy, base_url, api_key)
        price_of(model)

    def _connect(self) -> Any:
        with self.errors(0):
            client = self.sdk.AsyncAnthropic(api_key=self.api_key, base_url=self.base_url, max_retries=0)
        if not (client.api_key or client.auth_token or getattr(client, "credentials", None)):
            raise self._no_key("ANTHROPIC_API_KEY")
        return client

    def params(self, text: str, ttl: str = "5m") -> dict[str, Any]:
        """The request for one query; the same in a batch, where the cached prefix had better live for `ttl` = 1h."""
        cached = {"type": "ephemeral", "ttl": ttl}
        return {
            "model": self.model,
            "max_tokens": MAX_TOKENS,
            "thinking": {"type": "disabled"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": self.prompt.schema()}},
            "system": [{"type": "text", "text": self.prompt.system, "cache_control": cached}],
            "messages": [{"role": "user", "content": message(text)}],
        }

    async def _send(self, text: str, timeout_s: float) -> Any:
        return await self.client().messages.create(**self.params(text), timeout=timeout_s)

    async def count(self, text: str, timeout_s: float = 10.0) -> int:
        """Input tokens of the request for `text`, by the API's own free count. Raises TeacherError."""
        params = self.params(text)
        del params["max_tokens"]
        async with self.limited(timeout_s):
            counted = await self.client().messages.count_tokens(**params, timeout=timeout_s)
        return int(counted.input_tokens)

    def read(self, answer: Any, latency_s: float | None = None, batch: bool = False) -> Reply:
        """A message of the API as a Reply; one of a `batch` at half the price."""
        usage = _anthropic_usage(answer.usage)
        charged: Charged = {"usage": usage, "nano": cost(self.model, usage, batch=batch), "latency_s": latency_s}
        if answer.stop_reason == "refusal":
            category = getattr(answer.stop_details, "category", None) if answer.stop_details else None
            return Reply(None, f"declined by the model ({category or 'no category given'})", **charged)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return _reply(self.prompt, text, answer.stop_reason, charged)

    def worst_case(self, text: str, batch: bool = False) -> int:
        """Nano-dollars that asking once cannot exceed."""
        return worst_case(self.model, self._prompt_bytes(text), MAX_TOKENS, batch=batch)


class OpenAITeacher(_Remote):
    """A model behind an OpenAI-compatible server: OpenAI, Gemini, or Ollama and the like on this machine (free).

    `base_url` and `api_key` default to the SDK's own environment variables. Raises ValueError for a model without a
    price and where the extra `openai` is not installed.
    """

    package = "openai"
    extra = "openai"

    def __init__(
        self, model: str, taxonomy: Taxonomy, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        super().__init__(model, taxonomy, base_url, api_key)
        host = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1").hostname
        self.local = host in LOCAL_HOSTS
        # OpenAI's own server knows only the new name of this limit, others often only the old one.
        self.limit = "max_completion_tokens" if host == "api.openai.com" else "max_tokens"
        if not self.local:
            price_of(model)

    def _connect(self) -> Any:
        key = self.api_key or os.environ.get("OPENAI_API_KEY") or ("none" if self.local else None)
        if key is None:
            raise self._no_key("OPENAI_API_KEY")
        with self.errors(0):
            return self.sdk.AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0)

    async def _send(self, text: str, timeout_s: float) -> Any:
        return await self.client().chat.completions.create(
            model=self.model,
            messages=[{"role": "system", "content": self.prompt.system}, {"role": "user", "content": message(text)}],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "label", "strict": True, "schema": self.prompt.schema()},
            },
            timeout=timeout_s,
            **{self.limit: MAX_TOKENS},
        )

    def read(self, answer: Any, latency_s: float | None = None) -> Reply:
        """A chat completion as a Reply."""
        usage = _openai_usage(answer.usage)
        nano = 0 if self.local else cost(self.model, usage)
        charged: Charged = {"usage": usage, "nano": nano, "latency_s": latency_s}
        choice = answer.choices[0] if answer.choices else None
        if choice is None or choice.message.refusal:
            return Reply(None, f"declined by the model: {choice.message.refusal if choice else 'no choice'}", **charged)
        return _reply(self.prompt, choice.message.content or "", choice.finish_reason, charged)

    def worst_case(self, text: str) -> int:
        """Nano-dollars that asking once cannot exceed; 0 for a server on this machine."""
        return 0 if self.local else worst_case(self.model, self._prompt_bytes(text), MAX_TOKENS)


def _reply(prompt: Prompt, text: str, stop_reason: str | None, charged: Charged) -> Reply:
    try:
        return Reply(prompt.parse(text), **charged)
    except Refused as refusal:
        cut = stop_reason in ("max_tokens", "length")
        return Reply(None, f"cut off at {MAX_TOKENS} tokens" if cut else str(refusal), again=True, **charged)


def _anthropic_usage(usage: Any) -> Usage:
    written = usage.cache_creation_input_tokens or 0
    hour = (usage.cache_creation.ephemeral_1h_input_tokens or 0) if usage.cache_creation else 0
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_write_tokens=written - hour,
        cache_write_1h_tokens=hour,
        cache_read_tokens=usage.cache_read_input_tokens or 0,
    )


def _openai_usage(usage: Any) -> Usage:
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(usage.prompt_tokens - cached, usage.completion_tokens, cache_read_tokens=cached)


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    while (cause := error.__cause__ or error.__context__) is not None and len(found) < 8:
        found.append(cause)
        error = cause
    return found
