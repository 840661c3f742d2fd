import datetime
import email.utils
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.teachers.failures import CODES, MEANING, PHRASES, SERVER_PHRASES, STATUSES, answered
from tests.fake_api import FakeAPI
from tests.fake_http import Response
from tests.fake_wire import ApiError
from tests.inference.test_http import claude, gpt
from tests.inference.test_teacher import fails

CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
LIMITS = "You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC."
QUOTA = "You exceeded your current quota, please check your plan and billing details. Please retry in 17.3s."


class Failing(FakeAPI):
    """Answers every request with one failure."""

    failure: ApiError

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        raise self.failure


def failing(failure: ApiError) -> FakeAPI:
    api = Failing()
    api.failure = failure
    return api


@pytest.mark.parametrize(
    ("status", "message", "kind", "fatal", "again"),
    [
        (400, CREDIT, "credit", True, False),
        (402, "Payment is required", "credit", True, False),
        (400, LIMITS, "spend-limit", True, False),
        (403, "Not allowed", "key", True, False),
        (400, "messages: at least one message is required", "request", False, False),
        (413, "Request exceeds the maximum size", "size", False, False),
        (429, QUOTA, "rate-limit", False, True),
        (529, CREDIT, "overloaded", False, True),
        (503, "Try again", "server", False, True),
        (503, "The model is overloaded. Please try again later.", "overloaded", False, True),
        (500, "AuthenticationError", "server", False, True),
        (400, "Authentication Error, LiteLLM Virtual Key expected", "key", True, False),
        (400, "litellm.AuthenticationError: AnthropicException - invalid x-api-key", "key", True, False),
        (400, "API key not valid. Please pass a valid API key.", "key", True, False),
        (400, "/v1/messages: Invalid model name passed in model=nope", "model", True, False),
        (404, "The model `nope` does not exist", "model", True, False),
        (404, "404 page not found", "address", True, False),
        (400, "effort is not supported by this one", "parameter", True, False),
        (422, "unheard_of: Extra inputs are not permitted", "parameter", True, False),
        (400, "Schema is too complex for compilation.", "parameter", True, False),
        (400, "The response was filtered due to the content management policy", "filtered", False, False),
        (400, "prompt is too long: 1200000 tokens > 1000000 maximum", "size", False, False),
        (429, "This model is not supported at this rate", "rate-limit", False, True),
    ],
)
@pytest.mark.parametrize("make", [claude, gpt])
def test_a_failure_is_read_from_its_status_and_message(
    make: object, status: int, message: str, kind: str, fatal: bool, again: bool
) -> None:
    with failing(ApiError(status, message)) as api:
        error = fails(make(api), kind)  # type: ignore[operator]
    assert (error.fatal, error.again) == (fatal, again)
    assert f"answered {status}: {message}" in str(error)
    assert ("add credit" in str(error)) is (kind == "credit")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "enforced_spend_limit_reached", "spend-limit"),
        (429, "contract_spend_limit_reached", "spend-limit"),
        (400, "organization_on_hold", "key"),
    ],
)
def test_an_error_code_outweighs_the_status(status: int, code: str, kind: str) -> None:
    with failing(ApiError(status, "Some words", None, code)) as api:
        assert fails(claude(api), kind).fatal


def test_a_quota_of_openai_that_is_used_up_is_no_rate_limit() -> None:
    with failing(ApiError(429, QUOTA, None, "insufficient_quota")) as api:
        assert fails(gpt(api), "credit").fatal


class Saying(FakeAPI):
    """Answers every request with one body."""

    said: Response

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        return self.said


def saying(body: Any, status: int = 200, **headers: str) -> FakeAPI:
    api = Saying()
    api.said = Response(body, status, headers)
    return api


ERRORS = {  # what gateways say, and its kind
    402: ({"message": "Insufficient credits", "code": 402}, "credit"),
    401: ({"message": "No auth credentials found", "code": "401"}, "key"),
    429: ({"message": "Rate limit exceeded: free-models-per-min", "code": 429}, "rate-limit"),
    502: ({"message": "Provider returned error", "code": 502}, "server"),
    529: ({"message": "Busy", "type": "overloaded_error"}, "overloaded"),
    500: ("it failed", "server"),
}


@pytest.mark.parametrize(("said", "kind"), ERRORS.values())
@pytest.mark.parametrize("make", [claude, gpt])
def test_an_error_with_the_status_of_a_success_is_an_error(make: Any, said: Any, kind: str) -> None:
    with saying({"error": said}) as api:
        error = fails(make(api), kind)
    choice = {"index": 0, "finish_reason": "error", "error": said, "message": {"role": "assistant", "content": ""}}
    with saying({"choices": [choice]}) as api:
        assert fails(gpt(api), kind).fatal is error.fatal


@pytest.mark.parametrize("wrap", [lambda said: [{"error": said}], lambda said: {"error": said}, lambda said: said])
def test_an_error_is_read_in_whatever_it_is_wrapped(wrap: Any) -> None:
    for said in ({"message": "API key not valid"}, "API key not valid", {"detail": "API key not valid"}):
        with saying(wrap(said), 400) as api:
            assert fails(gpt(api), "key").fatal
    with saying(b"<html>not supported</html>", 502) as api:
        assert fails(gpt(api), "server").again


@pytest.mark.parametrize("status", [405, 407, 408, 410, 421, 425, 426, 429, 451, 498, 499, 520])
def test_a_status_that_speaks_of_no_query_is_no_querys_fault(status: int) -> None:
    with saying({"error": {"message": "x"}}, status) as api:
        assert not fails(gpt(api), {405: "address", 407: "key", 410: "address", 426: "address", 429: "rate-limit",
                                    451: "key"}.get(status, "server")).of_query  # fmt: skip


def test_only_a_time_to_come_is_waited_for() -> None:
    soon = email.utils.format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90))
    for said in ("nan", "inf", "1e999", "-5", "soon", "", "Wed, 21 Oct 2015 07:28:00 GMT", "3.5", soon):
        with saying({"error": {"message": "x"}}, 429, **{"retry-after": said}) as api:
            waits = fails(gpt(api), "rate-limit").retry_after_s
        assert waits is None or 0 < waits <= 90
        assert (waits is None) is (said not in ("3.5", soon))


def test_every_kind_says_what_to_do_and_every_entry_leads_to_a_kind() -> None:
    named = {*CODES.values(), *PHRASES.values(), *SERVER_PHRASES.values(), *STATUSES.values()}
    assert named <= set(MEANING)
    assert set(MEANING.values()) == {"fatal", "query", "later"}
    assert all(text == text.casefold() for text in (*CODES, *PHRASES, *SERVER_PHRASES))


@given(st.sampled_from([*range(400, 430), 500, 503, 529]), st.text(max_size=40), st.none() | st.sampled_from([*CODES]))
def test_whatever_a_server_says_is_fatal_or_of_the_query_or_for_later(status: int, text: str, code: str | None) -> None:
    error = answered("t", SimpleNamespace(body={"error": {"message": text, "code": code}}, status_code=status,
                                          message="", response=SimpleNamespace(headers={})))  # fmt: skip
    assert [error.fatal, error.again, error.of_query].count(True) == 1
    assert error.kind in MEANING
    assert error.again or status < 500 or code
