"""What a report says of promises that are suspended: since when, what still holds, and what that costs."""

from __future__ import annotations

from collections import Counter
from typing import Any

from inference.log.counts import DAY_S, HOUR_S
from inference.log.decision_log import DecisionLog
from inference.log.marks import BY_HAND, KIND, NOTHING, End, Marks, Span, read_marks

BEFORE_S = 7 * DAY_S  # with which the time since an alarm is compared


def suspensions(log: DecisionLog, now: float) -> list[dict[str, Any]]:
    """The promises that are suspended, by question, with what it costs a day. Raises LogError."""
    found = []
    for question, marks in _by_question(log).items():
        alarm = marks.open()
        if alarm is not None:
            values = {"question": question, "target": alarm.target, "since": alarm.time}
            values["accepts_at"] = alarm.to if alarm.to < NOTHING else None
            found.append(values | _price(log, alarm.time, now))
    return found


def spans(log: DecisionLog) -> list[Span]:
    """All suspensions that there ever were, the oldest first. Raises LogError."""
    found = [span for marks in _by_question(log).values() for span in marks.spans()]
    return sorted(found)


def resume(log: DecisionLog, now: float) -> int:
    """End all suspensions, by hand; how many there were, those of bundles that do not serve included.

    Answers count anew from `now` on. Raises LogError.
    """
    open_ones = [question for question, marks in _by_question(log).items() if marks.unended]
    for question in open_ones:
        log.note(KIND, End(now, question, BY_HAND).key)
    if open_ones:
        log.check()
    log.close()
    return len(open_ones)


def _by_question(log: DecisionLog) -> dict[str, Marks]:
    marks = read_marks(log.read_counts(kind=KIND))
    return {question: Marks(marks, question) for question in sorted({mark.question for mark in marks})}


def _price(log: DecisionLog, since: float, now: float) -> dict[str, Any]:
    """How much more is deferred than in the week before the alarm, and its price, a day; None without a full hour."""
    alarm_hour = since // HOUR_S * HOUR_S
    requests, deferred = _flow(log, alarm_hour + HOUR_S, now // HOUR_S * HOUR_S)
    before, deferred_before = _flow(log, alarm_hour - BEFORE_S, alarm_hour)
    days = (now // HOUR_S * HOUR_S - alarm_hour - HOUR_S) / DAY_S
    if not requests or not before or days <= 0:
        return {"more_calls_a_day": None, "usd_a_day": None}
    more = max(0.0, deferred / requests - deferred_before / before) * requests / days
    costs = log.read_costs(alarm_hour - BEFORE_S, now)
    return {
        "more_calls_a_day": more,
        "usd_a_day": None if costs.usd_per_answer is None else more * costs.usd_per_answer,
    }


def _flow(log: DecisionLog, since: float, until: float) -> tuple[int, int]:
    """How many requests there were, and how many of them were deferred."""
    counts: Counter[tuple[str, str]] = Counter()
    for kind in ("requests", "flag") if until > since else ():
        for count in log.read_counts(since, until, kind):
            counts[count.kind, count.key] += count.n
    return counts["requests", "all"], counts["flag", "deferred"]
