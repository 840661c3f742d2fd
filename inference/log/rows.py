"""The decision log's rows (decisions, teachers' answers, corrections, counts), and their tables' migrations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from inference.common.text import storable

LONGEST_ID = 200  # PostgreSQL's indexes take no long values
KEPT = "promise"  # the kind of counts that are never purged, see inference.log.marks
SERVING, TRIAL = "serving", "trial"
_IDS = ("id", "caller_id", "request_id", "key")


class _Row:
    """Rows are made fit for any database as they are built, so that what is read equals what was written."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, may_be_none, tidy in _FITTING[type(self)]:
            value = getattr(self, name)
            found = None if value is None and may_be_none else tidy(name, value)
            if found is not value:
                object.__setattr__(self, name, found)


@dataclass(frozen=True, slots=True)
class Decision(_Row):
    """One answered request. `time` is in seconds since 1970; `reason` says why it was deferred, or fell back.

    `id` is the row's own and names one answered request; `caller_id` is what the caller gave, if anything, and may
    repeat. Of `text`, already redacted, the first 8,000 characters are kept, as a teacher reads them. `sampled`: it
    belongs to the uniform sample, for `number`, drawn from [0, 1), is below `rate`. The rate is the same for all
    requests of an `epoch`. `prompt_id` is the first teacher's, `question_id` the taxonomy's. Rows of earlier versions
    lack all these; their `id` is the caller's, if one was given.
    """

    id: str
    time: float
    text: str
    intent: str | None
    confidence: float | None
    accepted: bool
    source: str
    cached: bool
    deferred: bool
    sampled: bool
    bundle_id: str | None
    latency_ms: float | None
    reason: str | None = None
    caller_id: str | None = None
    number: float | None = None
    rate: float | None = None
    epoch: str = ""
    prompt_id: str = ""
    question_id: str = ""


@dataclass(frozen=True, slots=True)
class TeacherAnswer(_Row):
    """One answer of a teacher, or its refusal, with what was charged.

    `request_id` is the decision's `id`. `sampled`: of a request in the uniform sample, for which alone it was asked. A
    sampled request without any such row was not answered for reasons of the time (a cap, an outage), not of its text.
    """

    request_id: str
    time: float
    text: str
    teacher: str
    prompt_id: str
    label: str | None
    refusal: str | None
    usage: Mapping[str, int]
    cost_usd: float
    latency_ms: float | None
    sampled: bool
    question_id: str = ""


@dataclass(frozen=True, slots=True)
class Correction(_Row):
    """What a person says the intent of a request was. `request_id` is the decision's `id`."""

    request_id: str
    time: float
    text: str
    intent: str
    question_id: str = ""


@dataclass(frozen=True, slots=True)
class TrialAnswer(_Row):
    """What one of two bundles says of a sampled request while one of them is on trial; `request_id` is the decision's
    `id`. `role`: serving or trial. Both are asked beside the request, whoever answered it.
    """

    request_id: str
    time: float
    role: str
    bundle_id: str
    intent: str | None
    confidence: float | None
    accepted: bool
    source: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Count(_Row):
    """How often something was counted in the hour that began at `hour` (seconds since 1970).

    `n` is one writer's total, so that writing it twice changes nothing; counts that are read have no writer.
    """

    hour: int
    kind: str
    key: str
    n: int
    writer: str = ""


@dataclass(frozen=True)
class Costs:
    """Teachers' answers and what they cost, and of these the ones that named no intent."""

    answers: int
    usd: float
    refused: int
    refused_usd: float

    @property
    def usd_per_answer(self) -> float | None:
        """What one answer cost on average; None without any."""
        return self.usd / self.answers if self.answers else None


Row = Decision | TeacherAnswer | Correction | TrialAnswer | Count
R = TypeVar("R", Decision, TeacherAnswer, Correction, TrialAnswer)
TABLES: dict[type[Row], str] = {
    Decision: "decisions",
    TeacherAnswer: "teacher_answers",
    Correction: "corrections",
    TrialAnswer: "trial_answers",
    Count: "counts",
}
# Fields that rows did not always have; they are in a table of their own. At their default they are no part of a row's
# content, so that a row that was spilled by an earlier version is still the row that its log may hold already.
ADDED: dict[type[Row], tuple[str, ...]] = {
    Decision: ("caller_id", "number", "rate", "epoch", "prompt_id", "question_id"),
    TeacherAnswer: ("question_id",),
    Correction: ("question_id",),
}
# Names and annotations.
FIELDS: dict[type[Any], tuple[tuple[str, str], ...]] = {
    row: tuple((field.name, str(field.type)) for field in fields(row)) for row in TABLES
}


def _wrong(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, got {value!r:.80}")


def tidy_text(name: str, value: Any) -> str:
    """A string that both databases take, cut where it is too long; an id stays distinct. Raises TypeError if not."""
    if not isinstance(value, str):
        raise _wrong(name, "a string", value)
    if len(value) > LONGEST_ID and name in _IDS:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        value = value[: LONGEST_ID - len(digest)] + digest
    return storable(value)


def _number(name: str, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "a number", value)
    if abs(value) < float("inf"):  # a NaN is not
        return value + 0.0  # SQLite has no negative zero
    if name in ("time", "cost_usd"):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return None


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "true or false", value)
    return value


def _whole(name: str, value: Any) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise _wrong(name, "a whole number of 64 bits", value)
    return value


def _usage(name: str, value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise _wrong(name, "a mapping of names to whole numbers", value)
    return {tidy_text(name, key): _whole(name, n) for key, n in value.items()}


_TIDY = {"str": tidy_text, "float": _number, "bool": _flag, "int": _whole, "Mapping[str,": _usage}


# By kind, the fields of a row: name, whether it may be None, and what makes its value fit.
_FITTING: dict[type[Any], tuple[tuple[str, bool, Callable[[str, Any], Any]], ...]] = {
    kind: tuple((name, hint.endswith("None"), _TIDY[hint.partition(" ")[0]]) for name, hint in named)
    for kind, named in FIELDS.items()
}


def to_values(row: Row) -> dict[str, Any]:
    """A row's fields by name, ready for JSON."""
    return {name: getattr(row, name) for name, _ in FIELDS[type(row)]}


def to_record(row: Row) -> dict[str, Any]:
    """A row as its table has it."""
    values = to_values(row)
    if isinstance(row, TeacherAnswer):
        values["usage"] = json.dumps(values["usage"], sort_keys=True)
    if isinstance(row, TeacherAnswer | Correction | TrialAnswer):  # a request may have several: the content is the id
        content = {name: value for name, value in values.items() if value or name not in ADDED.get(type(row), ())}
        values["id"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    return values


def from_record(kind: type[R], record: Mapping[str, Any]) -> R:
    """A row from its table."""
    values = {name: record[name] for name, _ in FIELDS[kind]}
    if "usage" in values:
        values["usage"] = json.loads(values["usage"])
    return kind(**values)
