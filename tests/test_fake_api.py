import html
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fake_api import MIN_CACHED, FakeAPI
from tests.fake_wire import BROKEN, CALL_FAULTS, FAILURES, ROW_FAULTS, default_answer

LABELS = ["payments", "account", "unknown"]
SYSTEM = "Label the message. " * 200  # 950 tokens
NAMED = {"intent": {"enum": LABELS}, "maximum": {"type": "string"}}  # no key of the schema but a property's name
SCHEMA = {"type": "object", "additionalProperties": False, "properties": NAMED}
FORMAT = {"type": "json_schema", "schema": SCHEMA}


def client_of(api: FakeAPI, key: str = "test-key") -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key=key, base_url=api.url, max_retries=0, timeout=60)


def openai_of(api: FakeAPI) -> openai.OpenAI:
    return openai.OpenAI(api_key="test-key", base_url=f"{api.url}/v1", max_retries=0, timeout=60)


def params(query: str = "refund me", **changed: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": query}]
    asked = {"model": "claude-haiku-5-5", "max_tokens": 64, "output_config": {"format": FORMAT}, "messages": said}
    return {**asked, **changed}


def cached(text: str = SYSTEM, ttl: str = "5m") -> list[dict[str, Any]]:
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl}}]


def label_in(message: Any) -> Any:
    return json.loads("".join(block.text for block in message.content if block.type == "text"))["intent"]


def as_named(query: str, attempt: int) -> str | None:
    """A plan of faults: each query names its own."""
    return query if query in (*CALL_FAULTS, *ROW_FAULTS) else None


@settings(max_examples=100)
@given(query=st.text(min_size=1))
def test_the_query_is_what_stands_in_the_fence(query: str) -> None:
    fenced = f"<query>\n{html.escape(query, quote=False)}\n</query>"
    assert FakeAPI(fence="query").query_of(params(fenced)) == query
    assert FakeAPI().query_of(params(fenced)) == fenced


def test_an_answer_is_counted_and_charged() -> None:
    with FakeAPI(answer=lambda query, labels: labels[0]) as api, client_of(api) as client:
        message = client.messages.create(**params("x" * 41))
        assert (label_in(message), message.stop_reason, bool(message._request_id)) == ("payments", "end_turn", True)
        assert (message.usage.input_tokens, message.usage.output_tokens) == (11, 6)
        assert str(api.charged_usd) == "0.000004100"
        assert client.messages.count_tokens(model="claude-haiku-5-5", messages=params()["messages"]).input_tokens == 3
    assert (api.charged_unsent_nano, api.answers, api.calls.total()) == (0, {"x" * 41: 1}, 2)


@pytest.mark.parametrize(("ttl", "nano"), [("5m", 125), ("1h", 200)])
def test_a_long_system_text_is_written_once_and_read_later(ttl: str, nano: int) -> None:
    texts = [SYSTEM, SYSTEM, "a" * (MIN_CACHED * 4 - 4)]
    with FakeAPI() as api, client_of(api) as client:
        usages = [client.messages.create(**params(system=cached(text, ttl))).usage for text in texts]
    assert [usage.cache_creation_input_tokens for usage in usages] == [950, 0, 0]
    assert [getattr(usage.cache_creation, f"ephemeral_{ttl}_input_tokens") for usage in usages] == [950, 0, 0]
    assert [usage.cache_read_input_tokens for usage in usages] == [0, 950, 0]
    assert [usage.input_tokens for usage in usages] == [3, 3, 3 + MIN_CACHED - 1]
    out = sum(usage.output_tokens for usage in usages)
    assert api.charged_nano == 950 * nano + 950 * 10 + (9 + MIN_CACHED - 1) * 100 + out * 500


def test_the_cache_is_readable_only_once_a_response_has_begun() -> None:
    both = threading.Barrier(2, timeout=30)
    with FakeAPI(answer=lambda *_: str(both.wait())) as api, client_of(api) as client, ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: client.messages.create(**params(system=cached())).usage, range(2)))
    assert [usage.cache_creation_input_tokens for usage in found] == [950, 950]


REFUSED = [
    *({"extra_body": {name: value}} for name, value in {"temperature": 0, "top_p": 0.9, "max_tokens": None}.items()),
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "{"}]},
    {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"output_config": {"format": {**FORMAT, "schema": {"type": "object", "properties": NAMED}}}},
    {"output_config": {"format": {**FORMAT, "schema": {"anyOf": [{"type": "string", "minLength": 1}]}}}},
]


@pytest.mark.parametrize("changed", REFUSED, ids=str)
def test_what_the_api_refuses_is_refused(changed: dict[str, Any]) -> None:
    with FakeAPI() as api, client_of(api) as client, pytest.raises(anthropic.BadRequestError) as raised:
        client.messages.create(**params(**changed))
    assert raised.value.type == "invalid_request_error"
    assert api.charged_nano == api.charged_unsent_nano == 0


def test_a_wrong_key_and_an_unknown_model_are_refused() -> None:
    with FakeAPI() as api, client_of(api) as client, client_of(api, key="wrong") as other:
        with pytest.raises(anthropic.NotFoundError, match="claude-3-haiku"):
            client.messages.create(**params(model="claude-3-haiku"))
        with pytest.raises(anthropic.AuthenticationError) as raised:
            other.messages.create(**params())
    assert raised.value.request_id


def test_every_failure_reaches_the_sdk_and_none_is_charged() -> None:
    seen: dict[str, anthropic.APIStatusError] = {}
    with FakeAPI(faults=as_named) as api, client_of(api) as client:
        for kind in FAILURES:
            with pytest.raises(anthropic.APIStatusError) as raised:
                client.messages.create(**params(kind))
            seen[kind] = raised.value
    waits = [seen[kind].response.headers.get("retry-after") for kind in ("429", "429-long", "429-spend", "500")]
    assert waits == ["1", "3600", None, None]
    assert [seen[kind].error_code for kind in ("429", "429-spend")] == [None, "enforced_spend_limit_reached"]
    assert isinstance(seen["529"], anthropic.OverloadedError)
    assert api.charged_nano == api.charged_unsent_nano == 0


def test_odd_answers() -> None:
    with FakeAPI(faults=as_named) as api, client_of(api) as client:
        said = {
            kind: client.messages.create(**params(kind)) for kind in CALL_FAULTS if kind not in (*FAILURES, *BROKEN)
        }
    assert label_in(said["odd-case"]) == default_answer("odd-case", LABELS).swapcase()
    assert label_in(said["wrong-label"]) not in LABELS
    assert said["odd-json"].content[0].text == 'Sure! {"intent":'
    assert [block.type for block in said["thinking-first"].content] == ["thinking", "text"]
    refusal, cut = said.pop("refusal"), said["max_tokens"]
    assert (refusal.stop_reason, refusal.content, refusal.stop_details.type) == ("refusal", [], "refusal")
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 64)
    assert api.charged_nano == sum(m.usage.input_tokens * 100 + m.usage.output_tokens * 500 for m in said.values())


def test_a_share_of_attempts_fails_alike_each_time() -> None:
    first, second = FakeAPI(fault_share=0.2, seed=3), FakeAPI(fault_share=0.2, seed=3)
    faults = [first.fault_for(f"query {number % 1000}", CALL_FAULTS) for number in range(2000)]
    assert faults == [second.fault_for(f"query {number % 1000}", CALL_FAULTS) for number in range(2000)]
    assert set(faults) == {None, *CALL_FAULTS}
    assert 0.16 < 1 - faults.count(None) / len(faults) < 0.24
    assert any(once and not again for once, again in zip(faults[:1000], faults[1000:], strict=True))


def batch(client: anthropic.Anthropic, queries: list[str], **changed: Any) -> Any:
    rows: Any = [{"custom_id": f"row-{n}", "params": params(query, **changed)} for n, query in enumerate(queries)]
    return client.messages.batches.create(requests=rows)


def test_a_batch_ends_and_its_results_come_in_any_order_at_half_the_price() -> None:
    queries = [f"query {number}" for number in range(20)]
    with FakeAPI(batch_polls=2) as api, client_of(api) as client:
        made = batch(client, queries, system=cached(ttl="1h"))
        early, ended = (client.messages.batches.retrieve(made.id) for _ in range(2))
        assert api.charged_nano == 0
        rows, again = (list[Any](client.messages.batches.results(made.id)) for _ in range(2))
    assert (early.processing_status, early.results_url, early.request_counts.processing) == ("in_progress", None, 20)
    assert (ended.processing_status, ended.request_counts.succeeded) == ("ended", 20)
    answers = {row.custom_id: label_in(row.result.message) for row in rows}
    assert answers == {f"row-{number}": default_answer(query, LABELS) for number, query in enumerate(queries)}
    assert rows == again
    assert list(answers) != [f"row-{number}" for number in range(20)]
    out = sum(row.result.message.usage.output_tokens for row in rows)
    assert api.charged_nano == (950 * 200 + 19 * 950 * 10 + 20 * 2 * 100 + out * 500) // 2
    assert (api.charged_unsent_nano, api.answers) == (0, dict.fromkeys(queries, 1))


def test_rows_of_a_batch_fail_each_in_their_way() -> None:
    with FakeAPI(faults=as_named, batch_polls=1) as api, client_of(api) as client:
        made = batch(client, list(ROW_FAULTS))
        counts = client.messages.batches.retrieve(made.id).request_counts
        rows: Any = {ROW_FAULTS[int(row.custom_id[4:])]: row.result for row in client.messages.batches.results(made.id)}
    assert (counts.errored, counts.expired, counts.canceled, counts.succeeded) == (2, 1, 1, 4)
    assert [rows[kind].type for kind in ROW_FAULTS] == [*["errored"] * 2, "expired", "canceled", *["succeeded"] * 4]
    assert [rows[kind].error.error.type for kind in ROW_FAULTS[:2]] == ["api_error", "invalid_request_error"]
    assert (rows["refusal"].message.stop_reason, rows["max_tokens"].message.stop_reason) == ("refusal", "max_tokens")
    assert set(api.answers) == {"refusal", "max_tokens", "odd-case", "wrong-label"}


def test_a_rows_bad_params_are_its_own_error_but_bad_ids_are_the_batchs() -> None:
    with FakeAPI(batch_delay_s=0) as api, client_of(api) as client:
        made = batch(client, ["a"], thinking={"type": "enabled", "budget_tokens": 1024})
        rows: Any = list(client.messages.batches.results(made.id))
        for ids in (["a b"], ["a", "a"], ["a" * 65], []):
            requests: Any = [{"custom_id": name, "params": params()} for name in ids]
            with pytest.raises(anthropic.BadRequestError):
                client.messages.batches.create(requests=requests)
    assert [row.result.error.error.type for row in rows] == ["invalid_request_error"]
    assert api.batches_created == 1


def test_a_canceled_batch_is_not_charged() -> None:
    with FakeAPI(batch_polls=1) as api, client_of(api) as client:
        canceling = client.messages.batches.cancel(batch(client, ["a", "b"]).id)
        assert canceling.processing_status == "canceling"
        assert client.messages.batches.retrieve(canceling.id).request_counts.canceled == 2
    assert api.charged_nano == api.charged_unsent_nano == 0


def test_a_batch_whose_id_was_lost_is_in_the_list() -> None:
    with FakeAPI(drop_create_response=True, batch_polls=1) as api, client_of(api) as client:
        for size in range(1, 6):
            with pytest.raises(anthropic.APIConnectionError):
                batch(client, ["a"] * size)
        listed = list(client.messages.batches.list(limit=2))
        with pytest.raises(anthropic.NotFoundError, match="ended"):
            client.get(f"/v1/messages/batches/{listed[0].id}/results", cast_to=object)
    assert [found.request_counts.processing for found in listed] == [5, 4, 3, 2, 1]
    assert (api.batches_created, api.calls["GET /v1/messages/batches"]) == (5, 3)


def chat(client: openai.OpenAI, query: str, form: str = "json_schema") -> Any:
    wanted: Any = {"type": form, "json_schema": {"name": "label", "strict": True, "schema": SCHEMA}}
    said: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": query}]
    return client.chat.completions.create(model="llama3.2", messages=said, response_format=wanted, temperature=0)


def test_chat_completions() -> None:
    with FakeAPI(faults=as_named) as api, openai_of(api) as client:
        hello = [chat(client, "hello") for _ in range(2)]
        assert json.loads(hello[0].choices[0].message.content) == {"intent": default_answer("hello", LABELS)}
        assert [answer.usage.prompt_tokens for answer in hello] == [952, 952]
        assert [answer.usage.prompt_tokens_details.cached_tokens for answer in hello] == [0, 950]
        assert api.charged_nano == 954 * 100 + 950 * 10 + 500 * sum(one.usage.completion_tokens for one in hello)
        assert chat(client, "refusal").choices[0].message.refusal
        assert chat(client, "max_tokens").choices[0].finish_reason == "length"
        with pytest.raises(openai.BadRequestError, match="response_format"):
            chat(client, "hello", form="xml")
        with pytest.raises(openai.APIConnectionError):
            chat(client, "reset")
        with pytest.raises(openai.RateLimitError) as spent:
            chat(client, "429-spend")
    assert spent.value.code == "insufficient_quota"
