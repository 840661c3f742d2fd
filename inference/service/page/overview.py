"""What the overview and the intents show: the report's figures of a period, and the same ones over time."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from inference.bundle.manifest import BundleError
from inference.log.agreement import LOCAL
from inference.log.counts import DAY_S, HOUR_S
from inference.log.decision_log import DecisionLog
from inference.log.drift import NONE, read_reference
from inference.log.figures import ACCURACY, Figure, Slice, accuracy, answered, slices, summarise
from inference.log.sequence import interval
from inference.log.suspension import spans, suspensions
from inference.report import amount
from inference.service.page import charts

SOURCES = ("cache", *LOCAL, "teacher", "human", "fallback")
STEPS_S = (HOUR_S, 2 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 3 * DAY_S, 7 * DAY_S, 30 * DAY_S)
MOST_STEPS, MOST_DAYS = 14, 31


class Period(NamedTuple):
    """From `since` to `until`, in seconds since 1970: whole hours."""

    since: float
    until: float

    def steps(self) -> list[tuple[float, float]]:
        """The period in at most fourteen equal steps; the last one may be shorter."""
        length = self.until - self.since
        step = next((step for step in STEPS_S if length <= MOST_STEPS * step), length / MOST_STEPS)
        count = int(-(-length // step))
        return [(self.since + i * step, min(self.until, self.since + (i + 1) * step)) for i in range(count)]

    def days(self) -> list[tuple[float, float]]:
        """The UTC days of the period, which caps are for: the last 31 of them."""
        first, last = int(self.since // DAY_S), int(-(-self.until // DAY_S))
        return [(day * DAY_S, (day + 1) * DAY_S) for day in range(max(first, last - MOST_DAYS), last)]


def overview(log: DecisionLog, period: Period, promise: float | None, cap: float | None) -> dict[str, Any]:
    """Everything that the overview shows of a period. Raises LogError."""
    steps, days = period.steps(), period.days()
    so_far = [(period.since, until) for _, until in steps]
    whole, *rest = slices(log, [period, *steps, *so_far, *days])
    found = rest[: len(steps)], rest[len(steps) : 2 * len(steps)], rest[2 * len(steps) :]
    labels = [_label(since, period) for since, _ in steps]
    stepwise = [one.figures() if one.requests else None for one in found[0]]
    return {
        "requests": whole.requests,
        "tiles": [
            _tile(figure, [None if figures is None else figures[i].value for figures in stepwise])
            for i, figure in enumerate(whole.figures())
        ],
        "answered": _answered(whole, found[0], labels),
        "agreement": _agreement(log, found[1], promise, period),
        "money": _money(whole, found[2], cap),
        "suspended": suspensions(log, time.time()),
        "refused": (whole.costs.refused, whole.costs.answers, amount(whole.costs.refused_usd, "usd")),
        "dropped": sum(whole.counts.get("dropped", NONE).values()),
    }


def _label(moment: float, period: Period) -> str:
    form = "%H:%M" if period.until - period.since <= 2 * DAY_S else "%b %d"
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime(form)


def _tile(figure: Figure, values: Sequence[float | None]) -> dict[str, Any]:
    shown = [amount(value, figure.unit) for value in values if value is not None]
    said = f"{figure.name} over time: {', '.join(shown) or 'no data'}"
    return {
        "figure": figure,
        "value": "–" if figure.value is None else amount(figure.value, figure.unit),
        "target": f"{'over' if figure.at_least else 'under'} {amount(figure.target, figure.unit)}",
        "spark": charts.spark(values, figure.target, said),
    }


def _answered(whole: Slice, steps: Sequence[Slice], labels: Sequence[str]) -> dict[str, Any]:
    total, bars = answered(whole.counts), [answered(found.counts) for found in steps]
    legend = [(name, total.get(name, 0), total.get(name, 0) / max(1, whole.requests)) for name in SOURCES]
    rows = [(label, [bar.get(name, 0) for name in SOURCES]) for label, bar in zip(labels, bars, strict=True)]
    return {"chart": charts.band(SOURCES, bars, labels), "legend": legend, "rows": rows}


def _agreement(log: DecisionLog, so_far: Sequence[Slice], promise: float | None, period: Period) -> dict[str, Any]:
    points, rows = [], []
    for found in so_far:
        figure = accuracy(found.counts, found.sample)
        if "interval_95" in figure.detail and figure.value is not None:
            low, high = figure.detail["interval_95"]
            points.append((found.until, figure.value, low, high))
            rows.append((_label(found.until, period), figure.value, low, high, figure.detail["asked"]))
    shown = [span for span in spans(log) if (span.until or period.until) > period.since and span.since < period.until]
    marked = [(span.since, span.until or period.until) for span in shown]
    return {"chart": charts.agreement(points, promise, marked, period), "rows": rows, "spans": shown}


def _money(whole: Slice, days: Sequence[Slice], cap: float | None) -> dict[str, Any]:
    price = whole.costs.usd_per_answer
    every = [None if price is None else found.requests * price for found in days]
    labels = [datetime.datetime.fromtimestamp(found.since, datetime.UTC).strftime("%b %d") for found in days]
    rows = [(label, found.costs.usd, usd) for label, found, usd in zip(labels, days, every, strict=True)]
    return {
        "chart": charts.money(rows, cap),
        "rows": rows,
        "spent": whole.costs.usd,
        "answers": whole.costs.answers,
        "all_llm": None if price is None else whole.requests * price,
        "price": price,
    }


def intents(log: DecisionLog, period: Period, bundle: Path | None) -> dict[str, Any]:
    """The report's intents, with what each was of the calibration rows. Raises LogError."""
    [found] = slices(log, [period])
    try:
        report, note = summarise(log, *period, bundle, found), ""
        unit, reference = ("", {}) if bundle is None else read_reference(bundle)
    except BundleError as error:
        report, note, unit, reference = summarise(log, *period, None, found), str(error), "", {}
    live = found.counts.get(f"student_intent_{unit}", NONE)
    mix: Mapping[str, float] = reference.get("intent", {})
    rows = []
    for row in report["intents"]:
        name = row["intent"]
        sure = interval(row["agreed"], row["asked"], ACCURACY) if row["asked"] else None
        then, now = _share(mix, name), _share(live, name)
        rows.append({**row, "interval": sure, "then": then, "now": now if then is not None else None})
    return {"rows": rows, "drift": report["drift"] or {}, "note": note, "requests": report["requests"]}


def _share(mix: Mapping[str, float], name: str | None) -> float | None:
    total = sum(mix.values())
    return mix.get(name or "", 0) / total if total else None
