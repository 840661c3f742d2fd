"""The figures of a service, from `Cascade.stats()` alone, and how those of several processes become one.

No label ever holds a query's text: sources, intents of the taxonomy, teachers' names and states are all there is.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from inference.serving.measured import EDGES_MS

SOURCES = ("rules", "exit", "student", "teacher", "human", "fallback")
PROMISE = ("watching", "suspended", "blind", "off")
BREAKER = ("closed", "half-open", "open")
Labels = tuple[str, ...]
Values = dict[Labels, Any]  # a number, of a histogram the counts in its bins and the sum of seconds
Figures = dict[str, Values]


class Metric(NamedTuple):
    """What a figure is: `kind` is counter, gauge or histogram; `together` makes one of several processes' values."""

    name: str
    kind: str
    help: str
    labels: Labels = ()
    together: Callable[[Iterable[float]], float] = max


METRICS = (
    Metric("requests", "counter", "Requests answered, by what answered.", ("source",)),
    Metric("cached_requests", "counter", "Requests answered from a cache."),
    Metric("deferred_requests", "counter", "Requests given to the teachers."),
    Metric("intent_requests", "counter", "Requests answered, by intent; empty: none.", ("intent", "source")),
    Metric("troubles", "counter", "What went wrong beside an answer.", ("what",)),
    Metric("latency_seconds", "histogram", "Time to an answer, by what answered.", ("source",)),
    Metric("spent_usd", "gauge", "Dollars measured today, known since the last paid call of a process."),
    Metric("spend_unsure_usd", "gauge", "Dollars of today that were perhaps charged."),
    Metric("spend_reserved_usd", "gauge", "Dollars reserved by calls under way."),
    Metric("spend_cap_usd", "gauge", "The day's cap; absent without one."),
    Metric("breaker", "gauge", "1 for the state that a teacher's breaker is in.", ("teacher", "state")),
    Metric("log_healthy", "gauge", "1 while the decision log can be written, or spilled.", (), min),
    Metric("log_waiting_rows", "gauge", "Rows that wait to be written.", (), sum),
    Metric("log_rows", "counter", "Rows of the decision log, by what became of them.", ("fate",)),
    Metric("log_dropped_rows", "counter", "Rows that were dropped, by their value.", ("value",)),
    Metric("promise", "gauge", "1 for the state that the promise is in.", ("state",)),
    Metric("promise_target", "gauge", "The agreement that is promised."),
    Metric("audited_requests", "gauge", "Accepted answers of the sample that a teacher has judged."),
    Metric("agreed_requests", "gauge", "Those among them that it agreed with."),
    Metric("agreement_bound", "gauge", "The 95 % confidence sequence of live agreement.", ("side",)),
    Metric("alarm_evidence", "gauge", "Evidence that the promise is broken."),
    Metric("alarm_limit", "gauge", "The evidence at which there is an alarm."),
    Metric("sample_rate", "gauge", "Share of all requests that the teacher labels too."),
    Metric("redis_up", "gauge", "1 while Redis is in use.", (), min),
    Metric("redis_lookups", "counter", "Calls of Redis, by what came of them.", ("result",)),
    Metric("thread_failures", "counter", "Steps of background threads that failed.", ("thread",)),
    Metric("bundle_info", "gauge", "1 for the bundle that serves.", ("bundle_id",)),
    Metric("bundle_refused", "gauge", "1 while a newer bundle is refused."),
    Metric("processes", "gauge", "Processes that serve.", (), sum),
)
COUNTED = frozenset(metric.name for metric in METRICS if metric.kind != "gauge")


def figures(stats: Mapping[str, Any]) -> Figures:
    """The figures of one process."""
    parts = (_requests, _measured, _spend, _log, _promise, _rest)
    return {name: values for part in parts for name, values in part(stats) if values}


def combine(living: Sequence[Figures], ended: Sequence[Figures] = ()) -> Figures:
    """Those of several processes. Of the ended ones what was counted stays, so that no counter falls."""
    found: Figures = {}
    for metric in METRICS:
        values: dict[Labels, list[Any]] = collections.defaultdict(list)
        for each in (*living, *ended) if metric.name in COUNTED else living:
            for labels, value in each.get(metric.name, {}).items():
                values[labels].append(value)
        if values:
            ways: dict[str, Callable[[Any], Any]] = {"counter": sum, "gauge": metric.together, "histogram": _add}
            one = ways[metric.kind]
            found[metric.name] = {labels: one(given) for labels, given in values.items()}
    return found


def _add(given: Iterable[Sequence[float]]) -> list[float]:
    return [sum(column) for column in zip(*given, strict=True)]


def _requests(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    answers = stats["answers"]
    yield "requests", {(source,): answers[source] for source in SOURCES if source in answers}
    for name in ("cached", "deferred"):
        yield f"{name}_requests", {(): answers.get(name, 0)}
    yield "troubles", {(what,): n for what, n in answers.items() if what not in (*SOURCES, "cached", "deferred")}


def _measured(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    measured = stats["measured"]
    if measured is not None:
        yield (
            "intent_requests",
            {(intent, source): n for source, intents in measured["intents"].items() for intent, n in intents.items()},
        )
        latency = measured["latency"].items()
        yield "latency_seconds", {(source,): [*bins["bins"], bins["sum_ms"] / 1000] for source, bins in latency}


def _spend(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    spend = stats["spend"]
    if spend is not None:
        yield "spent_usd", {(): spend["measured_usd"]}
        yield "spend_unsure_usd", {(): spend["unsure_usd"]}
        yield "spend_reserved_usd", {(): spend["reserved_usd"]}
        yield "spend_cap_usd", _number(spend["cap_usd"])


def _log(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    log = stats["log"]
    if log is not None:
        yield "log_healthy", {(): float(log["healthy"])}
        yield "log_waiting_rows", {(): log["waiting"]}
        yield "log_rows", {(fate,): log[fate] for fate in ("written", "spilled", "read_back")}
        yield "log_dropped_rows", {(value,): n for value, n in log["dropped"].items()}


def _promise(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    promise = stats["promise"]
    yield "promise", {(state,): float(state == promise["state"]) for state in PROMISE}
    yield "promise_target", _number(promise.get("target"))
    yield "audited_requests", _number(promise.get("audited"))
    yield "agreed_requests", _number(promise.get("agreed"))
    yield "agreement_bound", dict(zip([("lower",), ("upper",)], promise.get("interval_95", ()), strict=False))
    yield "alarm_evidence", _number(promise.get("evidence"))
    yield "alarm_limit", _number(promise.get("limit"))
    yield "sample_rate", _number((stats["sample"] or {}).get("rate"))


def _rest(stats: Mapping[str, Any]) -> Iterator[tuple[str, Values]]:
    yield (
        "breaker",
        {(teacher, state): float(state == now) for teacher, now in stats["breakers"].items() for state in BREAKER},
    )
    if stats["redis"] is not None:
        yield "redis_up", {(): stats["redis"]["up"]}
        yield "redis_lookups", {(result,): n for result, n in stats["redis"].items() if result != "up"}
    yield "thread_failures", {(name,): worker["failures"] for name, worker in stats["workers"].items()}
    yield "bundle_info", {(stats["bundle_id"],): 1.0} if stats["bundle_id"] else {}
    yield "bundle_refused", {(): float(stats["refused_bundle"] is not None)}
    yield "processes", {(): 1}


def _number(value: float | None) -> Values:
    return {} if value is None else {(): value}


def edges() -> list[str]:
    """The upper ends of the histogram's bins, in seconds."""
    return [f"{edge / 1000:g}" for edge in EDGES_MS] + ["+Inf"]
