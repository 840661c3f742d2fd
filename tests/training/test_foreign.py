"""Traces of tracer and logs of requests, as rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.teachers.prompt import message
from training.data.foreign import TRACER_LABEL, TRACER_TEXT, adapter
from training.data.rows import to_row
from training.data.source import Reading, read_source

INTENTS = Taxonomy.of(["billing", "reset_password", "other"])
ASKED = [{"role": "system", "content": "Sort this."}, {"role": "user", "content": "i was charged twice"}]
OPENAI = {"choices": [{"message": {"role": "assistant", "content": '{"intent": "Billing"}'}}], "model": "gpt-x"}
CLAUDE = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "billing"}]}
TOOL = {"role": "assistant", "content": [{"type": "tool_use", "input": {"category": "billing"}}]}
CALL = {"message": {"content": None, "tool_calls": [{"function": {"arguments": '{"intent": "billing"}'}}]}}
BITS = [{"choices": [{"delta": {"content": part}}]} for part in ("bil", "ling")]
LOGS: dict[str, dict[str, Any]] = {
    "request and response": {"request": {"model": "gpt-x", "messages": ASKED}, "response": OPENAI},
    "as strings": {"request": json.dumps({"messages": ASKED}), "response": json.dumps(OPENAI)},
    "a batch": {"custom_id": "7", "body": {"messages": ASKED}, "response": {"status_code": 200, "body": OPENAI}},
    "one conversation": {"messages": [*ASKED, {"role": "assistant", "content": "The intent is: billing."}]},
    "earlier turns": {
        "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "other"}, *ASKED],
        "response": OPENAI,
    },
    "a call of a tool": {"request": {"messages": ASKED}, "response": {"choices": [CALL]}},
    "claude": {"request": {"model": "claude-x", "messages": ASKED}, "response": CLAUDE},
    "a tool of claude": {"request": {"messages": ASKED}, "response": TOOL},
    "blocks": {"messages": [{"role": "user", "content": [{"type": "text", "text": "i was charged twice"}]}], **CLAUDE},
    "responses": {
        "request": {"model": "gpt-x", "input": "i was charged twice"},
        "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "billing"}]}]},
    },
    "a text alone": {"messages": ASKED, "response": "billing"},
    "an object as a text": {"model": "gpt-x", "input": "i was charged twice", "output": '{"intent": "billing"}'},
    "output_text": {"request": {"model": "m", "input": "i was charged twice"}, "response": {"output_text": "billing"}},
    "a call of a function": {
        "messages": ASKED,
        "response": {"choices": [{"message": {"function_call": {"arguments": '{"intent": "billing"}'}}}]},
    },
    "arguments as an object": {
        "messages": ASKED,
        "response": {"choices": [{"message": {"tool_calls": [{"function": {"arguments": {"intent": "billing"}}}]}}]},
    },
    "a stream": {
        "messages": ASKED,
        "response": [{"choices": [{"delta": {"role": "assistant"}}]}, *BITS, {"choices": [], "usage": {"total": 3}}],
    },
    "a stream of claude": {
        "messages": ASKED,
        "response": [
            {"type": "message_start", "message": {"role": "assistant", "content": []}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "bill"}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "ing"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        ],
    },
    "a stream of responses": {
        "request": {"model": "m", "input": "i was charged twice"},
        "response": [
            {"type": "response.output_text.delta", "delta": "bill"},
            {"type": "response.reasoning_summary_text.delta", "delta": "other?"},
            {"type": "response.output_text.delta", "delta": "ing"},
        ],
    },
    "after thoughts": {
        "messages": ASKED,
        "response": {"role": "assistant", "content": "<think>other?</think>`billing`"},
    },
}


@pytest.mark.parametrize("name", LOGS)
def test_a_logged_request_is_its_last_message_of_a_user_and_the_intent_of_the_answer(name: str) -> None:
    row = to_row(adapter("requests", INTENTS)(LOGS[name], "here"), "here", "")
    assert row is not None
    assert (row.text, row.label) == ("i was charged twice", "billing")


@pytest.mark.parametrize("answer", ["I cannot say", "billing or other", '{"intent": "refund"}', ""])
def test_an_answer_that_names_no_intent_or_two_is_no_label(answer: str) -> None:
    log = {"messages": [*ASKED, {"role": "assistant", "content": answer}]}
    assert to_row(adapter("requests", INTENTS)(log, "here"), "here", "") is None


@pytest.mark.parametrize(
    "response",
    [
        {"choices": [{"message": {"content": None, "tool_calls": [{"type": "custom", "function": None}]}}]},
        {"choices": [{"message": {"content": None, "tool_calls": {"billing": 1}}}]},
        {"choices": [{"message": {"content": None, "tool_calls": ["billing"]}}]},
        {"choices": [None]},
        [None, {"choices": [None]}, {"delta": 5}],
        '{"choices": [{"message": {"content": null}, "finish_reason": "other"}]}',
        '{"error": "billing"}',
    ],
)
def test_a_response_that_holds_no_answer_is_no_label_whatever_its_form(response: Any) -> None:
    assert to_row(adapter("requests", INTENTS)({"messages": ASKED, "response": response}, "here"), "here", "") is None


def test_without_a_taxonomy_a_short_answer_is_the_label() -> None:
    for answer, label in (('{"category": "New one"}', "New one"), ("billing.", "billing"), ("word " * 40, None)):
        log = {"messages": [*ASKED, {"role": "assistant", "content": answer}]}
        row = to_row(adapter("requests", None)(log, "here"), "here", "")
        assert (row.label if row else None) == label


def test_the_model_is_the_labeler_and_our_own_fence_is_taken_off() -> None:
    asked = [{"role": "user", "content": message("is 1 < 2 & so?")}]
    row = to_row(adapter("requests", INTENTS)({"model": "m", "messages": asked, **CLAUDE}, "here"), "here", "")
    assert row is not None
    assert (row.text, row.labeler) == ("is 1 < 2 & so?", "m")


def test_a_log_without_messages_is_refused_by_place() -> None:
    with pytest.raises(ValueError, match=r"^here: a request has messages with one of a user; its fields"):
        adapter("requests", INTENTS)({"text": "hi", "label": "billing"}, "here")


def test_a_file_of_requests_is_read_by_the_taxonomy_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "taxonomy.toml").write_text(INTENTS.to_toml())
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(log) + "\n" for log in LOGS.values()))
    source = read_source(str(tmp_path), Reading(format="requests"))
    assert {row.label for row in source.rows} == {"billing"}
    assert len(source.rows) == len(LOGS)


def test_a_line_of_a_log_that_is_no_chat_is_left_out_and_told(tmp_path: Path) -> None:
    logs = [{"model": "embedder", "input": ["to be embedded"]}, *LOGS.values(), {"error": {"type": "overloaded"}}]
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps(log) + "\n" for log in logs))
    (tmp_path / "taxonomy.toml").write_text(INTENTS.to_toml())
    path.rename(tmp_path / "queries.jsonl")
    source = read_source(str(tmp_path), Reading(format="requests"))
    assert len(source.rows) == len(LOGS)
    [note] = source.notes
    assert note.startswith("left out 2 lines that are no chat, first ")
    assert "queries.jsonl:1: a request has messages with one of a user; its fields are model, input" in note


def test_a_log_without_any_chat_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"model": "embedder", "input": ["to be embedded"]}) + "\n")
    with pytest.raises(ValueError, match=r"requests.jsonl:1: a request has messages with one of a user"):
        read_source(str(path), Reading(format="requests"))


@pytest.mark.parametrize("text", TRACER_TEXT)
@pytest.mark.parametrize("label", TRACER_LABEL)
def test_a_trace_of_tracer_is_read_under_every_name_that_it_allowed(text: str, label: str) -> None:
    trace = {"id": "7", text: "hi there", label: 3, "ground_truth": "billing", "metadata": {"a": 1}, "embedding": [0.1]}
    row = to_row(adapter("tracer", None)(trace, "here"), "here", "")
    assert row is not None
    assert (row.id, row.text, row.label, row.gold, row.labeler) == ("7", "hi there", "3", "billing", "tracer")
    assert row.extra == {"metadata": {"a": 1}}


def test_a_trace_without_a_label_is_counted_and_one_without_an_input_refused(tmp_path: Path) -> None:
    traces = [{"input": "a", "teacher": "x"}, {"input": "b", "teacher": "y"}, {"input": "c", "teacher": None}]
    path = tmp_path / "traces.jsonl"
    path.write_text("".join(json.dumps(trace) + "\n" for trace in traces))
    source = read_source(str(path), Reading(format="tracer"))
    assert ([row.label for row in source.rows], source.unlabelled) == (["x", "y"], 1)
    with pytest.raises(ValueError, match=r"^here: a trace has one of input, query, text, prompt, question and one of"):
        adapter("tracer", None)({"teacher": "x"}, "here")
