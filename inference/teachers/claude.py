"""Claude through Anthropic's SDK."""

from __future__ import annotations

from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import Usage, cost, price_of, worst_case
from inference.teachers.http import Charged, Remote, to_reply, to_usage
from inference.teachers.teacher import Reply

WITHOUT_EFFORT = ("claude-3", "claude-haiku-4", "claude-sonnet-4")  # models, by what their names begin with


class AnthropicTeacher(Remote):
    """Claude, asked with thinking off, low effort where it has levels, an enum for the answer and a cached system text.

    `base_url` and `api_key` default to the SDK's own environment variables. Raises ValueError if the model has no
    price or the extra `haiku` is not installed.
    """

    package = kind = "anthropic"
    extra = "haiku"
    optional = ("effort", "thinking", "output_config")
    has_batches = True
    plain = priced_as = ""  # the model's name on Anthropic's API, and in the table of prices, where they differ

    def __init__(
        self, model: str, taxonomy: Taxonomy, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        super().__init__(model, taxonomy, base_url, api_key)
        self.priced_as = self.priced_as or model
        price_of(self.priced_as)
        self._has_effort = not (self.plain or model).startswith(WITHOUT_EFFORT)

    def _connect(self) -> Any:
        with self.errors(0):
            client = self.sdk.AsyncAnthropic(api_key=self.api_key, base_url=self.base_url, max_retries=0)
        if not (client.api_key or client.auth_token or getattr(client, "credentials", None)):
            raise self._no_key("ANTHROPIC_API_KEY")
        return client

    def params(self, text: str, ttl: str = "5m") -> dict[str, Any]:
        """The request for one query; the same in a batch, where the cached prefix had better live for `ttl` = 1h."""
        cached = {"type": "ephemeral", **({"ttl": ttl} if ttl != "5m" else {})}  # not every cloud knows the field
        params: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "thinking": {"type": "disabled"},
            "output_config": {"format": {"type": "json_schema", "schema": self.prompt.schema()}},
            "system": [{"type": "text", "text": self.prompt.system, "cache_control": cached}],
            "messages": [{"role": "user", "content": self.prompt.message(text)}],
        }
        if self._has_effort and "effort" not in self.left_out:
            params["output_config"]["effort"] = "low"
        return {name: value for name, value in params.items() if name not in self.left_out}

    def _thinks(self) -> bool:
        return "thinking" in self.left_out

    async def _send(self, text: str, timeout_s: float) -> Any:
        return await self.client().messages.create(**self.params(text), timeout=timeout_s)

    async def count(self, text: str, timeout_s: float = 10.0) -> int:
        """Input tokens of the request for `text`, by the API's own free count. Raises TeacherError if it fails."""
        params = self.params(text)
        del params["max_tokens"]
        async with self.limited(timeout_s):
            counted = await self.client().messages.count_tokens(**params, timeout=timeout_s)
        return int(counted.input_tokens)

    def read(self, answer: Any, latency_s: float | None = None, batch: bool = False) -> Reply:
        """A message of the API as a Reply; one of a `batch` at half the price."""
        usage = to_usage(_anthropic_usage, answer.usage)
        charged: Charged = {"usage": usage, "nano": cost(self.priced_as, usage, batch=batch), "latency_s": latency_s}
        if answer.stop_reason == "refusal":
            category = getattr(answer.stop_details, "category", None) if answer.stop_details else None
            return Reply(None, f"declined by the model ({category or 'no category given'})", **charged)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return to_reply(self.prompt, text, self.max_tokens if answer.stop_reason == "max_tokens" else None, charged)

    def worst_case(self, text: str, batch: bool = False) -> int:
        """Nano-dollars that asking once cannot exceed."""
        return worst_case(self.priced_as, self._prompt_bytes(text), self.max_tokens, batch=batch)


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
