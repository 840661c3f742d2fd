"""Records that others wrote: traces of the archived project tracer, and logs of requests to OpenAI and Anthropic."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.common.errors import MonokuError
from inference.common.text import canonical
from inference.teachers.prompt import Prompt, Refused
from training.data.rows import PREFIX

Record = dict[str, Any]
Adapt = Callable[[Record, str], Record]
FORMATS = ("rows", "tracer", "requests")
TRACER_TEXT = ("input", "query", "text", "prompt", "question")
TRACER_LABEL = ("teacher", "teacher_output", "label", "intent", "output", "answer")
LONGEST_LABEL = 64  # characters of an answer that may name an intent where there is no taxonomy
_WORD = re.compile(r"[^\W_]+")
_FENCE = re.compile(r"\s*<query>\n(.*)\n</query>\s*", re.DOTALL)  # around the query in our own prompt


class NoRequest(MonokuError, ValueError):
    """A line of a request log without a message of a user, such as a request for embeddings."""


def adapter(format: str, taxonomy: Taxonomy | None) -> Adapt:
    """What makes a record of ours from one in `format`. Raises ValueError if the format is unknown.

    The function that is returned raises NoRequest for a request that is to be left out.
    """
    if format == "rows":
        return lambda values, place: values
    if format == "tracer":
        return _traced
    if format == "requests":
        prompt = Prompt.of(taxonomy) if taxonomy else None
        return lambda values, place: _requested(values, place, prompt)
    raise ValueError(f"unknown format {format!r}: expected one of {', '.join(FORMATS)}")


def _traced(values: Record, place: str) -> Record:
    text = next((name for name in TRACER_TEXT if name in values), None)
    label = next((name for name in TRACER_LABEL if name in values), None)
    if text is None or label is None:
        wanted = f"one of {', '.join(TRACER_TEXT)} and one of {', '.join(TRACER_LABEL)}"
        raise ValueError(f"{place}: a trace has {wanted}; its fields are {', '.join(values)}")
    rest = {name: value for name, value in values.items() if name not in (text, label, "ground_truth", "embedding")}
    gold = {PREFIX + "gold": values["ground_truth"]} if values.get("ground_truth") is not None else {}
    return {**rest, "text": values[text], "label": values[label], PREFIX + "labeler": "tracer", **gold}


def _requested(values: Record, place: str, prompt: Prompt | None) -> Record:
    places = list(_places(values))
    turns: list[tuple[str, str]] = next((found for one in places if (found := _turns(one))), [])
    users = [i for i, (role, _) in enumerate(turns) if role == "user"]
    if not users:
        raise NoRequest(f"{place}: a request has messages with one of a user; its fields are {', '.join(values)}")
    text = turns[users[-1]][1]
    fenced = _FENCE.fullmatch(text)
    said = [content for role, content in turns[users[-1] + 1 :] if role in ("assistant", "model")]
    replies = (reply for one in places if (reply := _answer(one)))
    answer = next(replies, said[-1] if said else _bare_answer(places))
    models = [one["model"] for one in places if isinstance(one.get("model"), str)]
    id_ = next((values[name] for name in ("id", "custom_id", "request_id") if isinstance(values.get(name), str)), None)
    return {
        **({"id": id_} if id_ else {}),
        "text": html.unescape(fenced[1]) if fenced else text,
        "label": _label(answer, prompt),
        PREFIX + "labeler": models[0] if models else "requests",
    }


def _places(values: Record) -> Iterator[Record]:
    """The objects in which logs keep a request and its response, outermost first."""
    yield values
    for name in ("request", "kwargs", "body", "input", "response", "output"):
        inner = values.get(name)
        if isinstance(inner, str) and inner.lstrip().startswith("{"):
            inner = _in_json(inner)
        if isinstance(inner, dict):
            yield from _places(inner)


def _in_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _turns(values: Record) -> list[tuple[str, str]]:
    """Role and text of each message, where the object is a request."""
    messages = values.get("messages", values.get("input"))
    if isinstance(messages, str) and "model" in values:
        return [("user", messages)]
    if not isinstance(messages, list):
        return []
    spoken = (one for one in messages if isinstance(one, dict))
    turns = [(str(one.get("role", "")), _spoken(one.get("content"))) for one in spoken]
    return [(role, text) for role, text in turns if text.strip()]


def _answer(values: Record) -> str:
    """What the model answered, where the object is a response; "" where it is none."""
    streamed = values.get("response", values.get("chunks"))
    if isinstance(streamed, list):
        return "".join(_piece(one) for one in streamed if isinstance(one, dict))
    if isinstance(values.get("choices"), list):
        said = (one.get("message") for one in values["choices"] if isinstance(one, dict))
        return next((_message(one) for one in said if isinstance(one, dict)), "")
    if isinstance(values.get("output_text"), str):
        return str(values["output_text"])
    if isinstance(values.get("output"), list):
        return _spoken([block for one in values["output"] if isinstance(one, dict) for block in _blocks(one)])
    is_reply = values.get("role") == "assistant" or values.get("type") == "message"
    return _message(values) if is_reply else ""


def _blocks(item: Record) -> Iterable[Any]:
    content = item.get("content")
    return content if isinstance(content, list) else [item]


def _message(message: Record) -> str:
    called = message.get("tool_calls")
    calls = [one for one in called if isinstance(one, dict)] if isinstance(called, list) else []
    arguments = [one.get("function", one.get("custom")) for one in calls] or [message.get("function_call")]
    return _spoken(message.get("content")) or _spoken(arguments)


def _piece(event: Record) -> str:
    """What one event of a streamed answer adds to it."""
    choices = event.get("choices")
    of = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else event
    delta = of.get("delta")
    if isinstance(delta, str):  # the Responses API says what kind of a delta it is
        return (
            delta
            if event.get("type") in ("response.output_text.delta", "response.function_call_arguments.delta")
            else ""
        )
    if not isinstance(delta, dict):
        return ""
    said = (delta.get("content"), delta.get("text"), delta.get("partial_json"))
    return next((one for one in said if isinstance(one, str)), "") or _message(delta)


def _bare_answer(places: Iterable[Record]) -> str:
    """An answer that a log keeps as a text alone, beside its request; no response in JSON, which says more."""
    names = ("response", "output", "completion", "answer")
    texts = (one[name] for one in places for name in names if isinstance(one.get(name), str))
    return next((text for text in texts if not _is_response(text)), "")


def _is_response(text: str) -> bool:
    found = _in_json(text)
    return isinstance(found, dict) and ("error" in found or any(isinstance(one, dict | list) for one in found.values()))


def _spoken(content: Any) -> str:
    """The text of a message's content: a string, or blocks of which some hold text or a call of a tool."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [block if isinstance(block, str) else _block(block) for block in content]
    return "\n".join(part for part in parts if part)


def _block(block: Any) -> str:
    if not isinstance(block, Mapping):
        return ""
    if isinstance(block.get("text"), str):
        return str(block["text"])
    called = block.get("input", block.get("arguments"))
    return called if isinstance(called, str) else json.dumps(called) if called else ""


def _label(answer: str, prompt: Prompt | None) -> str | None:
    """The intent that an answer names: as our own prompt asks for it, alone, as the one value of an object, or as the
    one intent among its words. None where it names none, or several.
    """
    said = answer.rpartition("</think>")[2].strip()
    found = _in_json(said.strip("`").removeprefix("json").strip())
    values = [one for one in found.values() if isinstance(one, str)] if isinstance(found, dict) else []
    bare = [value for value in (values if len(values) == 1 else [said]) if "{" not in value]
    if prompt is None:
        return canonical(bare[0].strip(" .\"'`*")) or None if bare and len(bare[0]) <= LONGEST_LABEL else None
    for attempt in (prompt.parse, lambda text: prompt.match((bare or [text])[0].strip(" .\"'`*"))):
        try:
            return attempt(said)
        except Refused:
            continue
    return _among_words(said, prompt)


def _among_words(said: str, prompt: Prompt) -> str | None:
    words = _words(canonical(said))
    found = [name for name in prompt.labels if _words(name) in words]
    return found[0] if len(found) == 1 else None


def _words(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.casefold()))} "
