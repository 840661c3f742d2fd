from collections.abc import Mapping

import pytest

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
