"""What a provider's failure means, read in one place: from its status, its type or code, and its message.

The status alone does not tell. A 400 may be one bad query or an account without credit, a 429 a rate limit that passes
or a spend limit that does not.
"""

from __future__ import annotations

import datetime
import email.utils
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inference.teachers.teacher import TeacherError

# What a kind of failure means: "fatal" (no query fares better until somebody changes something), "query" (this one
# alone), or "later" (the same may succeed).
MEANING = {
    "credit": "fatal",
    "spend-limit": "fatal",
    "key": "fatal",
    "model": "fatal",
    "address": "fatal",
    "parameter": "fatal",
    "size": "query",
    "filtered": "query",
    "request": "query",
    "rate-limit": "later",
    "overloaded": "later",
    "server": "later",
}
# The first of these that knows the failure decides its kind: its type or code, its message, its status.
CODES = {
    "billing_error": "credit",
    "insufficient_quota": "credit",
    "billing_not_active": "credit",
    "billing_hard_limit_reached": "spend-limit",
    "enforced_spend_limit_reached": "spend-limit",
    "contract_spend_limit_reached": "spend-limit",
    "budget_exceeded": "spend-limit",
    "organization_on_hold": "key",
    "account_deactivated": "key",
    "authentication_error": "key",
    "auth_error": "key",
    "permission_error": "key",
    "invalid_api_key": "key",
    "model_not_found": "model",
    "model_decommissioned": "model",
    "deploymentnotfound": "model",
    "unsupported_parameter": "parameter",
    "unsupported_value": "parameter",
    "unknown_parameter": "parameter",
    "content_filter": "filtered",
    "content_policy_violation": "filtered",
    "context_length_exceeded": "size",
    "request_too_large": "size",
    "string_above_max_length": "size",
    "overloaded_error": "overloaded",
    "slow_down": "overloaded",
    "token_limit_exceeded": "rate-limit",  # of the tokens that all batches under way may have
}
# Of errors of the caller's side: many servers, and all gateways, send most of these as a plain 400. "Exceeded your
# current quota" is not here: Gemini says it of a rate limit as well.
PHRASES = {
    "credit balance is too low": "credit",
    "insufficient balance": "credit",
    "insufficient credit": "credit",
    "api usage limits": "spend-limit",
    "budget has been exceeded": "spend-limit",
    "invalid x-api-key": "key",
    "invalid api key": "key",
    "incorrect api key": "key",
    "api key not valid": "key",
    "authentication error": "key",
    "authenticationerror": "key",
    "virtual key expected": "key",
    "invalid model": "model",
    "not a valid model": "model",
    "model identifier is invalid": "model",
    "content filter": "filtered",
    "content management policy": "filtered",
    "prompt is too long": "size",
    "maximum context length": "size",
    "not supported": "parameter",
    "does not support": "parameter",
    "unsupported": "parameter",
    "isn't supported": "parameter",
    "unrecognized request argument": "parameter",
    "unknown parameter": "parameter",
    "unknown name": "parameter",
    "inputs are not permitted": "parameter",
    "schema is too complex": "parameter",
}
SERVER_PHRASES = {"overloaded": "overloaded"}  # Gemini says it under 503
STATUSES = {
    **dict.fromkeys((401, 403, 407, 451), "key"),
    402: "credit",
    **dict.fromkeys((405, 410, 426), "address"),
    413: "size",
    429: "rate-limit",
    529: "overloaded",
}
# A query may be at fault in these alone; the others are of the server, or of what stands before it.
OF_REQUEST = (400, 406, 411, 412, 414, 415, 416, 417, 422, 424, 428, 431)
NEXT = {
    "credit": " (the account has no credit left: add credit, then try again)",
    "address": " (there is no such service at this address: check the URL)",
}
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


def in_answer(name: str, error: Any) -> TeacherError:
    """What a gateway says of a failure with the status of a success, as the error of the teacher `name`."""
    said = _said(error)
    code = str(said.get("code"))
    status = (
        int(code) if code.isdecimal() and 400 <= int(code[:4]) < 600 else ROW_STATUSES.get(str(said.get("type")), 500)
    )
    message = said.get("message") or "an error without words"
    return _failure(name, status, f"{status} as a success", (said.get("type"), said.get("code")), message)


def in_batch(name: str, result: Any) -> TeacherError:
    """The result of a batch's row that did not succeed, as the error of the teacher `name`."""
    if result.type != "errored":
        return TeacherError(result.type, f"{name}: the row of a batch was {result.type}", again=True)
    error = result.error.error
    return _failure(name, ROW_STATUSES.get(error.type, 500), f"{error.type} in a batch", (error.type,), error.message)


def in_openai_batch(name: str, status: int, said: Mapping[str, Any]) -> TeacherError:
    """The result of a row of one of OpenAI's batches that did not succeed, as the error of the teacher `name`."""
    code = said.get("code")
    if code in ("batch_expired", "batch_cancelled"):
        return TeacherError(code, f"{name}: the row of a batch was {code.removeprefix('batch_')}", again=True)
    return _failure(name, status, f"{code or status} in a batch", (said.get("type"), code), said.get("message"))


def _failure(
    name: str, status: int, shown: str, codes: Iterable[Any], message: object, retry_after_s: float | None = None
) -> TeacherError:
    text = " ".join(str(message).split())
    kind = _kind(status, codes, text)
    meaning = MEANING[kind]
    line = f"{name} answered {shown}: {text[:200]}{NEXT.get(kind, '')}"
    return TeacherError(kind, line, again=meaning == "later", fatal=meaning == "fatal", retry_after_s=retry_after_s)


def _kind(status: int, codes: Iterable[Any], text: str) -> str:
    by_code = (CODES[code.casefold()] for code in codes if isinstance(code, str) and code.casefold() in CODES)
    said, phrases = text.casefold(), PHRASES if status < 500 else SERVER_PHRASES
    # A limit that passes is no fault of the request's, in whatever words it is told.
    known = (kind for phrase, kind in phrases.items() if phrase in said)
    by_phrase = (kind for kind in known if status != 429 or kind in ("credit", "spend-limit"))
    return next(by_code, None) or next(by_phrase, None) or _by_status(status, said)


def _by_status(status: int, said: str) -> str:
    if status == 404:
        return "model" if "model" in said else "address"
    return STATUSES.get(status, "request" if status in OF_REQUEST else "server")


def _said(body: object) -> Mapping[str, Any]:
    """The error in a body: an object, in a list or another, or words alone. A page says nothing that can be read."""
    if isinstance(body, str):
        return {} if body.lstrip().startswith("<") else {"message": body}
    if isinstance(body, Sequence):
        return _said(body[0]) if body else {}
    outer = _mapping(body)
    if outer.get("error"):
        return _said(outer["error"])
    return {"message": outer["detail"], **outer} if "detail" in outer else outer


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _retry_after(response: Any) -> float | None:
    """Seconds, from their number or from a date."""
    said = response.headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            until = email.utils.parsedate_to_datetime(said)
            seconds = (until - datetime.datetime.now(datetime.UTC)).total_seconds()
        except (ValueError, TypeError):  # no date, or one of no time zone
            return None
    return seconds if 0 <= seconds < math.inf else None
