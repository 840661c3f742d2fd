"""What a provider's failure means, read in one place: from its status, its type or code, and its message.

The status alone does not tell. A 400 may be one bad query or an account without credit, a 429 a rate limit that passes
or a spend limit that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from inference.teachers.teacher import TeacherError

# The first of these that knows the failure decides: its type or code, its message, its status.
CODES = {
    "billing_error": "credit",
    "insufficient_quota": "credit",
    "enforced_spend_limit_reached": "spend-limit",
    "contract_spend_limit_reached": "spend-limit",
    "budget_exceeded": "spend-limit",
    "organization_on_hold": "key",
}
# Anthropic sends both as a plain invalid_request_error. "Exceeded your current quota" is not here: Gemini says it of a
# rate limit as well.
PHRASES = {"credit balance is too low": "credit", "api usage limits": "spend-limit"}
STATUSES = {401: "key", 402: "credit", 403: "key", 404: "model", 413: "size", 429: "rate-limit", 529: "overloaded"}

FATAL = ("credit", "spend-limit", "key", "model")  # no query fares better until somebody changes something
NEXT = {"credit": " (the account has no credit left: add credit, then try again)"}
ROW_STATUSES = {  # a row of a batch fails with a type and no status
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}


def answered(name: str, error: Any) -> TeacherError:
    """An APIStatusError of either SDK, as the error of the teacher `name`."""
    said = _said(error.body)
    codes = (said.get("type"), said.get("code"), _mapping(said.get("details")).get("error_code"))
    message = said.get("message") or error.message
    return _failure(name, error.status_code, str(error.status_code), codes, message, _retry_after(error.response))


def in_batch(name: str, result: Any) -> TeacherError:
    """The result of a batch's row that did not succeed, as the error of the teacher `name`."""
    if result.type != "errored":
        return TeacherError(result.type, f"{name}: the row of a batch was {result.type}", again=True)
    error = result.error.error
    return _failure(name, ROW_STATUSES.get(error.type, 500), f"{error.type} in a batch", (error.type,), error.message)


def _failure(
    name: str, status: int, shown: str, codes: Iterable[Any], message: object, retry_after_s: float | None = None
) -> TeacherError:
    text = " ".join(str(message).split())
    kind = _kind(status, codes, text)
    fatal = kind in FATAL
    again = not fatal and (status in (408, 409, 429) or status >= 500)
    line = f"{name} answered {shown}: {text[:200]}{NEXT.get(kind, '')}"
    return TeacherError(kind, line, again=again, fatal=fatal, retry_after_s=retry_after_s)


def _kind(status: int, codes: Iterable[Any], text: str) -> str:
    by_code = (CODES[code] for code in codes if isinstance(code, str) and code in CODES)
    by_phrase = (kind for phrase, kind in PHRASES.items() if status < 500 and phrase in text.casefold())
    by_status = STATUSES.get(status, "server" if status in (408, 409) or status >= 500 else "request")
    return next(by_code, None) or next(by_phrase, by_status)


def _said(body: object) -> Mapping[str, Any]:
    outer = _mapping(body)
    return _mapping(outer.get("error", outer))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _retry_after(response: Any) -> float | None:
    try:
        return float(response.headers["retry-after"])
    except (KeyError, ValueError):
        return None
