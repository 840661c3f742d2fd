"""What tests/fake_api.py says, refuses and charges: functions of one request, with no state."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

FAILURES: dict[str, tuple[Any, ...]] = {  # status, message, retry-after, error code
    "429": (429, "This request would exceed your rate limit", "1"),
    "429-long": (429, "This request would exceed your rate limit", "3600"),
    "429-spend": (429, "Your spend limit is reached", None, "enforced_spend_limit_reached"),
    "400-credit": (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."),
    "402": (402, "Payment is required"),
    "500": (500, "Internal server error"),
    "529": (529, "Overloaded"),
}
BROKEN = ("hang", "dribble", "reset")  # the answer is generated, and charged, but never sent whole
ODD = ("refusal", "max_tokens", "odd-case", "wrong-label")
CALL_FAULTS = (*FAILURES, *BROKEN, *ODD, "odd-json", "thinking-first")
ROW_FAULTS = ("errored", "400-credit", "expired", "canceled", *ODD)
NANO = {"plain": 100, "auto": 100, "5m": 125, "1h": 200, "read": 10, "out": 500}  # a token, of Haiku 5.5
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
UNSUPPORTED = {
    *("minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("maxItems", "uniqueItems", "minProperties", "maxProperties"),
}
REFUSAL = {"type": "refusal", "category": "general_harms", "explanation": "This request was declined."}


class ApiError(Exception):
    def __init__(self, status: int, text: str, retry_after: str | None = None, code: str | None = None) -> None:
        self.status, self.text, self.code = status, text, code
        self.headers = {"retry-after": retry_after} if retry_after else {}

    def body(self, openai: bool = False) -> dict[str, Any]:
        error: dict[str, Any] = {"type": TYPES.get(self.status, "api_error"), "message": self.text}
        if openai:
            return {"error": {**error, "param": None, "code": "insufficient_quota" if self.code else None}}
        if self.code:
            error["details"] = {"error_code": self.code}
        return {"type": "error", "error": error, "request_id": f"req_{uuid.uuid4().hex}"}


@dataclass(frozen=True)
class Said:
    """One generated answer. `usage` counts tokens by how they are charged."""

    text: str
    stop: str
    usage: Counter[str]
    fault: str | None


def default_answer(query: str, labels: Sequence[str]) -> str:
    if not labels:
        raise ValueError("neither the schema nor FakeAPI(labels=...) names any labels")
    return labels[number(query) % len(labels)]


def number(*parts: object) -> int:
    content = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(content).digest()[:16])


def parsed(raw: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        body = json.loads(raw)
        if isinstance(body, dict):
            return body
    raise ApiError(400, "The request body is not a JSON object")


def tokens(text: str) -> int:
    return -(-len(text) // 4)


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def nano_dollars(usage: Counter[str], batch: bool = False) -> int:
    """Dearer beyond 100,000 tokens of input, half in a batch; a fraction is rounded up."""
    nano = sum(NANO[kind] * count for kind, count in usage.items())
    nano *= 5 if usage.total() - usage["out"] > 100_000 else 1
    return -(-nano // 2) if batch else nano


def enum_of(params: dict[str, Any]) -> list[str]:
    """The labels that the schema allows, empty where it names none."""
    wanted = (params.get("output_config") or {}).get("format") or {}
    found = wanted.get("schema", {}).get("properties", {}).get("intent", {}).get("enum")
    return list(found or [])


def problems(params: dict[str, Any], counting: bool = False) -> Iterator[str]:
    """Why the Messages API would answer 400."""
    yield from (f"{name}: not permitted" for name in ("temperature", "top_p", "top_k") if name in params)
    if params.get("stream"):
        yield "stream: this stand-in does not stream"
    if not counting and not isinstance(params.get("max_tokens"), int):
        yield "max_tokens: Field required"
    yield from _message_problems(params.get("messages"))
    thinking = (params.get("thinking") or {}).get("type")
    config = params.get("output_config") or {}
    if thinking == "enabled" or (thinking == "disabled" and config.get("effort") in ("xhigh", "max")):
        yield f"thinking.type: {thinking} is not supported by this model at this effort"
    if wanted := config.get("format"):
        yield from schema_problems(wanted.get("schema") if wanted.get("type") == "json_schema" else None)


def _message_problems(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        yield "messages: at least one message is required"
    elif not all(isinstance(message, dict) and message.get("content") for message in messages):
        yield "messages: every message must have content"
    elif messages[-1].get("role") != "user":
        yield "messages: the conversation must end with a user message; this model does not support prefill"


def schema_problems(schema: Any, at: str = "output_config.format.schema") -> Iterator[str]:
    if not isinstance(schema, dict):
        yield f"{at}: expected a JSON schema"
        return
    if "object" in str(schema.get("type")) and schema.get("additionalProperties") is not False:
        yield f"{at}: additionalProperties must be explicitly set to false"
    yield from (f"{at}: {key} is not supported" for key in sorted(UNSUPPORTED & schema.keys()))
    if schema.get("minItems", 0) not in (0, 1):
        yield f"{at}: minItems must be 0 or 1"
    for where in ("properties", "$defs"):  # properties may have any name, "maximum" too
        for name, part in schema.get(where, {}).items():
            yield from schema_problems(part, f"{at}.{where}.{name}")
    for where in ("anyOf", "allOf"):
        for number, part in enumerate(schema.get(where, [])):
            yield from schema_problems(part, f"{at}.{where}.{number}")
    if "items" in schema:
        yield from schema_problems(schema["items"], f"{at}.items")


def request_problems(requests: Any) -> Iterator[str]:
    """Why a whole batch is refused; what is wrong with one row's params is that row's error."""
    if not isinstance(requests, list) or not 0 < len(requests) <= 100_000:
        yield "requests: between 1 and 100,000 are expected"
        return
    seen = set()
    for number, request in enumerate(requests):
        name = request.get("custom_id") if isinstance(request, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
            yield f"requests.{number}.custom_id: expected ^[a-zA-Z0-9_-]{{1,64}}$, got {name!r}"
        if name in seen:
            yield f"requests.{number}.custom_id: {name!r} is not unique"
        if not isinstance(request, dict) or not isinstance(request.get("params"), dict):
            yield f"requests.{number}.params: Field required"
        seen.add(name)


def from_chat(body: dict[str, Any]) -> dict[str, Any]:
    """A chat completion's request as one of the Messages API. Raises ApiError."""
    wanted = body.get("response_format") or {"type": "text"}
    if wanted.get("type") not in ("text", "json_object", "json_schema"):
        raise ApiError(400, f"Invalid value: {wanted.get('type')!r} for 'response_format.type'")
    said = body.get("messages") or []
    schema = wanted.get("json_schema", {}).get("schema")
    return {
        "model": body.get("model"),
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens") or 4096,
        "system": [
            {"text": text_of(message["content"]), "cache_control": {"ttl": "auto"}}
            for message in said
            if message.get("role") == "system"
        ],
        "messages": [message for message in said if message.get("role") != "system"],
        "output_config": {"format": {"type": "json_schema", "schema": schema}} if "json_schema" in wanted else {},
    }


def say(label: str, fault: str | None, limit: int, usage: Counter[str]) -> Said:
    """The answer as generated, cut at `limit` tokens; its own tokens are added to `usage`."""
    named = {"odd-case": label.swapcase(), "wrong-label": "no-such-intent"}.get(fault or "", label)
    text = 'Sure! {"intent":' if fault == "odd-json" else json.dumps({"intent": named}, ensure_ascii=False)
    if fault == "refusal":
        return Said("", "refusal", usage + Counter(out=tokens(text)), fault)
    if fault == "max_tokens" or tokens(text) > limit:
        text = text[: min(limit * 4, len(text) // 2)]
        return Said(text, "max_tokens", usage + Counter(out=limit), fault)
    return Said(text, "end_turn", usage + Counter(out=tokens(text)), fault)


def message(model: str, said: Said, tier: str = "standard") -> tuple[dict[str, Any], int]:
    """The Messages API's answer and its nano-dollars: 0 for a refusal, which comes before any output."""
    refused = said.stop == "refusal"
    usage = Counter[str]() if refused else said.usage
    thinking = [{"type": "thinking", "thinking": "", "signature": "c2ln"}] if said.fault == "thinking-first" else []
    body = {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [] if refused else [*thinking, {"type": "text", "text": said.text}],
        "stop_reason": said.stop,
        "stop_sequence": None,
        "stop_details": REFUSAL if refused else None,
        "usage": {
            "input_tokens": usage["plain"],
            "output_tokens": usage["out"],
            "cache_creation_input_tokens": usage["5m"] + usage["1h"],
            "cache_read_input_tokens": usage["read"],
            "cache_creation": {"ephemeral_5m_input_tokens": usage["5m"], "ephemeral_1h_input_tokens": usage["1h"]},
            "service_tier": tier,
        },
    }
    return body, nano_dollars(usage, batch=tier == "batch")


def completion(model: str, said: Said) -> tuple[dict[str, Any], int]:
    """The chat completion and its nano-dollars; a refusal is charged like any answer."""
    refused = said.stop == "refusal"
    prompt = said.usage.total() - said.usage["out"]
    body = {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None if refused else said.text,
                    "refusal": REFUSAL["explanation"] if refused else None,
                },
                "finish_reason": "length" if said.stop == "max_tokens" else "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": said.usage["out"],
            "total_tokens": said.usage.total(),
            "prompt_tokens_details": {"cached_tokens": said.usage["read"]},
        },
    }
    return body, nano_dollars(said.usage)


def now() -> str:
    return datetime.now(UTC).isoformat()


def new_batch(size: int) -> dict[str, Any]:
    return {
        "id": f"msgbatch_{uuid.uuid4().hex}",
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": {"processing": size, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": now(),
        "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        "ended_at": None,
        "cancel_initiated_at": None,
        "archived_at": None,
        "results_url": None,
    }


def ended_batch(results: Sequence[str], results_url: str) -> dict[str, Any]:
    """What changes about a batch when it ends with these types of results."""
    counts = {kind: results.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")}
    return {
        "processing_status": "ended",
        "request_counts": {"processing": 0, **counts},
        "ended_at": now(),
        "results_url": results_url,
    }
