"""Any OpenAI-compatible server through OpenAI's SDK."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import Usage, cost, price_of, worst_case
from inference.teachers.http import Charged, Remote, only_thought, to_reply, to_usage
from inference.teachers.teacher import Reply

# How models that think by default are told to think least, by what their names begin with; the first that fits counts.
EFFORTS = (
    ("gpt-5-", "minimal"),
    ("gpt-5.", "none"),
    ("gpt-6", "none"),
    ("gpt-oss", "low"),
    ("o1", "low"),
    ("o3", "low"),
    ("o4", "low"),
    ("gemini-2.5-flash", "none"),
    ("gemini-", "low"),
)
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class OpenAITeacher(Remote):
    """A model behind an OpenAI-compatible server: OpenAI, Gemini, or Ollama and the like on this machine (free).

    `base_url` and `api_key` default to the SDK's own environment variables. Raises ValueError if the model has no
    price or the extra `openai` is not installed.
    """

    package = kind = "openai"
    extra = "openai"
    optional = ("reasoning_effort", "response_format", "max_tokens")

    def __init__(
        self, model: str, taxonomy: Taxonomy, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        super().__init__(model, taxonomy, base_url, api_key)
        host = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1").hostname
        self.local = host in LOCAL_HOSTS
        # OpenAI's own server knows only the new name of this limit, others often only the old one.
        self._new_limit = host == "api.openai.com"
        # Other models are told once one is seen to think.
        self._effort = next((effort for begin, effort in EFFORTS if model.startswith(begin)), None)
        self.priced = not self.local  # it may be a proxy before a server that is not free
        if self.priced:
            price_of(model)

    def _connect(self) -> Any:
        key = self.api_key or os.environ.get("OPENAI_API_KEY") or ("none" if self.local else None)
        if key is None:
            raise self._no_key("OPENAI_API_KEY")
        with self.errors(0):
            return self.sdk.AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0)

    async def _send(self, text: str, timeout_s: float) -> Any:
        return await self.client().chat.completions.create(timeout=timeout_s, **self.request(text))

    def request(self, text: str) -> dict[str, Any]:
        """The request for one query; the same in a batch."""
        said = [
            {"role": "system", "content": self.prompt.system},
            {"role": "user", "content": self.prompt.message(text)},
        ]
        return {"model": self.model, "messages": said, **self.parameters()}

    def parameters(self) -> dict[str, Any]:
        """What a request says beside the model and the messages."""
        schema = {"name": "label", "strict": True, "schema": self.prompt.schema()}
        new = self._new_limit or "max_tokens" in self.left_out
        parameters = {
            "response_format": {"type": "json_schema", "json_schema": schema},
            "reasoning_effort": self._effort,
            "max_completion_tokens" if new else "max_tokens": self.max_tokens,
        }
        return {name: value for name, value in parameters.items() if value and name not in self.left_out}

    def _thinks(self) -> bool:
        """Whether a model that thinks cannot be told not to."""
        return self._effort is not None and (self._effort != "none" or "reasoning_effort" in self.left_out)

    def read(self, answer: Any, latency_s: float | None = None, batch: bool = False) -> Reply:
        """A chat completion as a Reply; one of a `batch` at the price of batches."""
        usage = to_usage(_openai_usage, answer.usage)
        nano = 0 if self.local else cost(self.model, usage, batch=batch)
        charged: Charged = {"usage": usage, "nano": nano, "latency_s": latency_s}
        choice = answer.choices[0] if answer.choices else None
        if choice is None:
            return Reply(None, "no choice in the answer", again=True, **charged)
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return Reply(None, f"declined by the model: {choice.message.refusal or 'content_filter'}", **charged)
        text, cut_at = _text(choice.message.content), self.max_tokens if choice.finish_reason == "length" else None
        if cut_at is not None and only_thought(text) and "reasoning_effort" not in self.left_out:
            self._effort = self._effort or "none"
        return to_reply(self.prompt, text, cut_at, charged)

    def worst_case(self, text: str, batch: bool = False) -> int:
        """Nano-dollars that asking once cannot exceed; 0 for a server on this machine."""
        return 0 if self.local else worst_case(self.model, self._prompt_bytes(text), self.max_tokens, batch=batch)


def _text(content: Any) -> str:
    """What a model said, which some servers send in parts, its thoughts among them."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _openai_usage(usage: Any) -> Usage:
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    # A server may report more cached tokens than it had.
    return Usage(max(0, usage.prompt_tokens - cached), usage.completion_tokens, cache_read_tokens=cached)
