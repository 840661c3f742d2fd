"""The figures of `python -m inference.report`, computed from the decision log."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.bundle.manifest import BundleError, resolve
from inference.log.counts import CONFIDENCE_BINS, latency_edge
from inference.log.decision_log import DecisionLog

LOCAL = ("rules", "student")
QUANTILES = (50, 95, 99)
Z_95 = 1.959964
FEWEST_FOR_DRIFT = 200  # the stability index of fewer is mostly noise
STABLE, SHIFTED = 0.1, 0.25

Counts = Mapping[str, Counter[str]]
NONE: Counter[str] = Counter()


@dataclass(frozen=True)
class Figure:
    """A figure beside its target, which it must exceed (`at_least`) or stay below. `value` is None without data."""

    name: str
    value: float | None
    target: float
    unit: str
    at_least: bool = False
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """ok, missed or no data."""
        if self.value is None:
            return "no data"
        return "ok" if (self.value > self.target if self.at_least else self.value < self.target) else "missed"

    def to_json(self) -> dict[str, Any]:
        values = {"value": self.value, "target": self.target, "unit": self.unit, "at_least": self.at_least}
        return {**values, "status": self.status, **self.detail}


@dataclass
class Agreement:
    """How often a teacher agreed, of how many answers it was asked about."""

    agreed: int = 0
    asked: int = 0

    @property
    def share(self) -> float | None:
        return self.agreed / self.asked if self.asked else None


@dataclass(frozen=True)
class Sample:
    """The uniform sample: agreement by intent of its accepted local answers, and how many requests of it were what."""

    by_intent: Mapping[str, Agreement]
    size: int
    local: int
    asked_extra: int

    @classmethod
    def of(cls, log: DecisionLog, since: float, until: float) -> Sample:
        sampled = {row.id: row for row in log.read_decisions(since, until) if row.sampled}
        labels: dict[str, str | None] = {}
        for answer in log.read_answers(since):  # some came after the period's end
            if answer.sampled and answer.request_id in sampled and labels.get(answer.request_id) is None:
                labels[answer.request_id] = answer.label
        by_intent: dict[str, Agreement] = {}
        local = [row for row in sampled.values() if row.accepted and row.source in LOCAL and row.intent is not None]
        for row in local:
            label = labels.get(row.id)
            if label is not None:
                intent = by_intent.setdefault(row.intent or "", Agreement())
                intent.asked += 1
                intent.agreed += label == row.intent
        return cls(by_intent, len(sampled), len(local), sum(not sampled[name].deferred for name in labels))


def summarise(log: DecisionLog, since: float, until: float, bundle: Path | None = None) -> dict[str, Any]:
    """The whole report, `figures` as Figures. Raises LogError or BundleError if one cannot be read."""
    counts: dict[str, Counter[str]] = {}
    for count in log.read_counts(since, until):
        counts.setdefault(count.kind, Counter())[count.key] += count.n
    sample = Sample.of(log, since, until)
    costs = [answer.cost_usd for answer in log.read_answers(since, until)]
    return {
        "requests": _requests(counts),
        "figures": [
            _cost(counts, costs),
            _call_rate(counts, sample),
            _accuracy(sample),
            _latency(counts),
            _hits(counts),
        ],
        "intents": _intents(counts, sample),
        "drift": None if bundle is None else drift(counts, read_reference(bundle)),
        "rows_dropped": dict(counts.get("dropped", NONE)),
        "rows_spilled": counts.get("spilled", NONE)["rows"],
    }


def _requests(counts: Counts) -> int:
    return counts.get("requests", NONE)["all"]


def _per_request(counts: Counts, n: float) -> float | None:
    return n / _requests(counts) if _requests(counts) else None


def _cost(counts: Counts, costs: list[float]) -> Figure:
    # The audit's answers, and those that came too late for their request, cost as well.
    spent, waited = math.fsum(costs), counts.get("cost", NONE)["nano"] / 1e9
    note = f"${spent:.4f} for {len(costs):,} teacher answers, ${waited:.4f} of it for what a caller waited for"
    detail = {"spent_usd": spent, "answers": len(costs), "waited_for_usd": waited}
    return Figure("cost per request", _per_request(counts, spent), 0.0001, "usd", note=note, detail=detail)


def _call_rate(counts: Counts, sample: Sample) -> Figure:
    deferred = counts.get("flag", NONE)["deferred"]
    note = f"{deferred:,} deferred, and {sample.asked_extra:,} asked about for the sample alone"
    detail = {"deferred": deferred, "sampled_only": sample.asked_extra}
    rate = _per_request(counts, deferred + sample.asked_extra)
    return Figure("LLM call rate", rate, 0.30, "share", note=note, detail=detail)


def _accuracy(sample: Sample) -> Figure:
    asked = sum(intent.asked for intent in sample.by_intent.values())
    agreed = sum(intent.agreed for intent in sample.by_intent.values())
    detail: dict[str, Any] = {"agreed": agreed, "asked": asked, "sampled": sample.size, "local_accepted": sample.local}
    note = (
        f"of {sample.size:,} sampled requests {sample.local:,} were accepted locally, {asked:,} of these have a label"
    )
    if asked:
        low, high = detail["interval_95"] = wilson(agreed, asked)
        note = f"95 % interval {low * 100:.1f} to {high * 100:.1f} %; {note}"
    share = agreed / asked if asked else None
    return Figure("accuracy", share, 0.95, "share", at_least=True, note=note, detail=detail)


def _latency(counts: Counts) -> Figure:
    detail = {name: _quantiles(counts.get(f"latency_{name}", NONE)) for name in ("all", "local")}
    shown = [
        f"{name} p50 {found['p50']:.3g}, p95 {found['p95']:.3g}, p99 {found['p99']:.3g} ms"
        for name, found in detail.items()
        if found
    ]
    value = detail["all"].get("p95")
    return Figure("latency p95", value, 200.0, "ms", note="; ".join(shown), detail=detail)


def _hits(counts: Counts) -> Figure:
    hits = counts.get("flag", NONE)["cached"]
    return Figure(
        "cache hit rate",
        _per_request(counts, hits),
        0.60,
        "share",
        at_least=True,
        note=f"{hits:,} hits",
        detail={"hits": hits},
    )


def _intents(counts: Counts, sample: Sample) -> list[dict[str, Any]]:
    """One row per intent, the most frequent first; None is for requests that got no intent."""
    rows = []
    for name, n in counts.get("intent", NONE).most_common():
        found = sample.by_intent.get(name, Agreement())
        share = n / _requests(counts)
        sampled = {"agreed": found.agreed, "asked": found.asked, "agreement": found.share}
        rows.append({"intent": name or None, "requests": n, "share": share, **sampled})
    return rows


def _quantiles(histogram: Mapping[str, int]) -> dict[str, float]:
    found = {int(place): n for place, n in histogram.items()}
    return {f"p{q}": quantile(found, q / 100) for q in QUANTILES} if found else {}


def quantile(histogram: Mapping[int, int], share: float) -> float:
    """The milliseconds below which a share of a latency histogram lies, interpolated within its bin."""
    wanted, below = share * sum(histogram.values()), 0.0
    for place, n in sorted(histogram.items()):
        if below + n >= wanted:
            low, high = latency_edge(place), latency_edge(place + 1)
            return float(low * (high / low) ** ((wanted - below) / n))
        below += n
    raise ValueError("a histogram without entries has no quantiles")


def wilson(agreed: int, asked: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, spread = agreed / asked, Z_95**2 / asked
    middle, half = share + spread / 2, Z_95 * math.sqrt(share * (1 - share) / asked + spread / asked / 4)
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def stability_index(live: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """The population stability index of two distributions, with half an observation added to every cell.

    By custom below 0.1 is stable, above 0.25 a large shift.
    """
    cells = set(live) | set(reference)
    total, scale = sum(live.values()), sum(live.values()) / sum(reference.values())
    index = 0.0
    for cell in cells:
        found = (live.get(cell, 0) + 0.5) / (total + 0.5 * len(cells))
        expected = (reference.get(cell, 0) * scale + 0.5) / (total + 0.5 * len(cells))
        index += (found - expected) * math.log(found / expected)
    return index


def read_reference(bundle: Path) -> dict[str, dict[str, float]]:
    """What the student said of the calibration rows, by kind of count; empty where the bundle does not say."""
    path = resolve(bundle) / "report.json"
    try:
        found = json.loads(path.read_bytes())["calibration"]
        mixes = {"confidence": found.get("confidence_histogram"), "intent": found.get("intent_mix")}
        mixes["confidence"] = mixes["confidence"] and _by_bin(mixes["confidence"])
        return {kind: {str(k): float(v) for k, v in mix.items()} for kind, mix in mixes.items() if mix}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BundleError(f"{path} has no readable calibration: {type(error).__name__}: {error}") from error


def _by_bin(histogram: list[float]) -> dict[int, float]:
    if len(histogram) != CONFIDENCE_BINS:
        raise ValueError(f"confidence_histogram has {len(histogram)} bins, expected {CONFIDENCE_BINS}")
    return dict(enumerate(histogram))


def drift(counts: Counts, reference: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """How far confidence and intent mix have moved since calibration, each with a word for it."""
    found: dict[str, Any] = {}
    for kind in ("confidence", "intent"):
        live, expected = counts.get(kind, NONE), reference.get(kind, {})
        seen = sum(live.values())
        if not sum(expected.values()):
            found[kind] = {"index": None, "verdict": "no reference in the bundle"}
        elif seen < FEWEST_FOR_DRIFT:
            found[kind] = {"index": None, "verdict": f"{seen} requests are too few, {FEWEST_FOR_DRIFT} are needed"}
        else:
            index = stability_index(live, expected)
            verdict = "stable" if index < STABLE else "some shift" if index < SHIFTED else "large shift"
            found[kind] = {"index": index, "verdict": verdict}
    return found
