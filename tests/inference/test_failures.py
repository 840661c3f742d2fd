from collections.abc import Mapping
from types import SimpleNamespace

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
