"""Any OpenAI-compatible server through OpenAI's SDK."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import Usage, cost, price_of, worst_case
from inference.teachers.http import MAX_TOKENS, Charged, Remote, to_reply
from inference.teachers.prompt import message
from inference.teachers.teacher import Reply

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class OpenAITeacher(Remote):
    """A model behind an OpenAI-compatible server: OpenAI, Gemini, or Ollama and the like on this machine (free).

    `base_url` and `api_key` default to the SDK's own environment variables. Raises ValueError if the model has no
    price or the extra `openai` is not installed.
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
        return to_reply(self.prompt, choice.message.content or "", choice.finish_reason, charged)

    def worst_case(self, text: str) -> int:
        """Nano-dollars that asking once cannot exceed; 0 for a server on this machine."""
        return 0 if self.local else worst_case(self.model, self._prompt_bytes(text), MAX_TOKENS)


def _openai_usage(usage: Any) -> Usage:
    if usage is None:
        return Usage()
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(usage.prompt_tokens - cached, usage.completion_tokens, cache_read_tokens=cached)
