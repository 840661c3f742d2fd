"""The figures of `python -m inference.report`, computed from the decision log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from inference.log.agreement import Agreement, Sample
from inference.log.counts import latency_edge
from inference.log.decision_log import DecisionLog
from inference.log.drift import NONE, Counts, drift
from inference.log.rows import Costs
from inference.log.sequence import interval
from inference.log.thresholds import own_targets

QUANTILES = (50, 95, 99)
ACCURACY = 0.95


@dataclass(frozen=True)
class Figure:
    """A figure beside its target, which it must exceed (`at_least`) or stay below. `value` is None without data.

    Where a part of the data is missing, `bounds` are the value in the worst case and in the best.
    """

    name: str
    value: float | None
    target: float
    unit: str
    at_least: bool = False
    note: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    bounds: tuple[float, float] | None = None

    @property
    def status(self) -> str:
        """ok, missed, incomplete (what is missing decides) or no data."""
        if self.value is None and self.bounds is None:
            return "no data"
        worst, best = map(self._met, self.bounds or (self.value, self.value))
        return "ok" if worst else "incomplete" if best else "missed"

    def _met(self, value: float | None) -> bool:
        return value is not None and (value > self.target if self.at_least else value < self.target)

    def to_json(self) -> dict[str, Any]:
        values = {"value": self.value, "target": self.target, "unit": self.unit, "at_least": self.at_least}
        return {**values, "status": self.status, **self.detail}


def summarise(
    log: DecisionLog, since: float, until: float, bundle: Path | None = None, found: Slice | None = None
) -> dict[str, Any]:
    """The whole report, `figures` as Figures; `found` is what the log says of the period, if it was read already.

    Raises LogError or BundleError if one cannot be read.
    """
    found = found or slices(log, [(since, until)])[0]
    counts = found.counts
    return {
        "requests": found.requests,
        "figures": found.figures(),
        "refusals": _refusals(found.costs),
        "intents": _intents(counts, found.sample),
        "drift": None if bundle is None else drift(counts, bundle, log.read_processes(since, until)),
        "own_targets": [] if bundle is None else own_targets(bundle),
        "rows_dropped": dict(counts.get("dropped", NONE)),
        "rows_spilled": counts.get("spilled", NONE)["rows"],
    }


@dataclass(frozen=True)
class Slice:
    """What the log says of one period. Whether it is priced is up to whoever asks: `costs` are read from `log` then."""

    since: float
    until: float
    counts: Counts
    sample: Sample
    log: DecisionLog = field(repr=False)

    @cached_property
    def costs(self) -> Costs:
        """What teachers' answers cost. Raises LogError."""
        return self.log.read_costs(self.since, self.until)

    @property
    def requests(self) -> int:
        return _requests(self.counts)

    def figures(self) -> list[Figure]:
        """The five figures beside their targets."""
        counts, sample = self.counts, self.sample
        return [
            _cost(counts, self.costs),
            _call_rate(counts, sample),
            accuracy(counts, sample),
            _latency(counts),
            _hits(counts),
        ]


def slices(log: DecisionLog, periods: Sequence[tuple[float, float]]) -> list[Slice]:
    """Each period (since, until), of which some may be in others; the log's rows are read once. Raises LogError."""
    found: list[dict[str, Counter[str]]] = [{} for _ in periods]
    for count in log.read_counts(min(since for since, _ in periods), max(until for _, until in periods)):
        for (since, until), counts in zip(periods, found, strict=True):
            if since <= count.hour < until:
                counts.setdefault(count.kind, Counter())[count.key] += count.n
    samples = Sample.of_each(log, periods)
    return [Slice(*period, counts, sample, log) for period, counts, sample in zip(periods, found, samples, strict=True)]


def _requests(counts: Counts) -> int:
    return counts.get("requests", NONE)["all"]


def answered(counts: Counts) -> dict[str, int]:
    """Requests by what answered them, `cache` for those whose answer was kept; a person's correction stays `human`.

    Before 0.3.0 nobody counted whose answers were kept: there is no `cache` then, and they count where they came from.
    """
    kept = Counter({source: n for source, n in counts.get("cached", NONE).items() if source != "human"})
    return {"cache": kept.total(), **{source: n - kept[source] for source, n in counts.get("source", NONE).items()}}


def _per_request(counts: Counts, n: float) -> float | None:
    return n / _requests(counts) if _requests(counts) else None


def _cost(counts: Counts, costs: Costs) -> Figure:
    # The audit's answers, and those that came too late for their request, cost as well.
    waited = counts.get("cost", NONE)["nano"] / 1e9
    note = f"${costs.usd:.4f} for {costs.answers:,} teacher answers, ${waited:.4f} of it for what a caller waited for"
    detail = {"spent_usd": costs.usd, "answers": costs.answers, "waited_for_usd": waited}
    return Figure("cost per request", _per_request(counts, costs.usd), 0.0001, "usd", note=note, detail=detail)


def _call_rate(counts: Counts, sample: Sample) -> Figure:
    deferred = counts.get("flag", NONE)["deferred"]
    note = f"{deferred:,} deferred, and {sample.asked_extra:,} asked about for the sample alone"
    detail = {"deferred": deferred, "sampled_only": sample.asked_extra}
    rate = _per_request(counts, deferred + sample.asked_extra)
    return Figure("LLM call rate", rate, 0.30, "share", note=note, detail=detail)


def _refusals(costs: Costs) -> dict[str, Any]:
    """Teachers' answers that named no intent, and what they cost: a part of the whole cost."""
    return {"answers": costs.refused, "of": costs.answers, "cost_usd": costs.refused_usd}


def accuracy(counts: Counts, sample: Sample) -> Figure:
    """How often teachers agreed with the accepted local answers of the sample, with what is missing as bounds."""
    found, dropped = sample.agreement, counts.get("dropped", NONE)["sampled"]
    # What is missing is not missing at random: an outage, a cap and a refusal have to do with what was asked.
    local = sample.local + dropped
    missing = local - found.asked
    detail: dict[str, Any] = {"agreed": found.agreed, "asked": found.asked, "refused": sample.refused}
    detail |= {"sampled": sample.size, "local_accepted": sample.local, "rows_dropped": dropped}
    parts = [f"of {sample.size:,} sampled requests {sample.local:,} were accepted locally"]
    parts += [f"{found.asked:,} of these have a label", f"{sample.refused:,} were refused by the teacher"]
    parts += [f"{dropped:,} rows of the sample were dropped"] if dropped else []
    note, bounds = ", ".join(parts), None
    if missing:
        bounds = detail["worst_case"], detail["best_case"] = found.agreed / local, (found.agreed + missing) / local
        note = f"worst case {bounds[0] * 100:.1f} %, if all that is missing is wrong; {note}"
    if found.asked:
        low, high = detail["interval_95"] = interval(found.agreed, found.asked, ACCURACY)
        shown = f"{low * 100:.1f} to {high * 100:.1f} %"
        note = f"95 % at every look since then: {shown}; {_mix(sample)}{note}"
        detail["bundles"] = dict(sample.by_bundle)
    return Figure("accuracy", found.share, ACCURACY, "share", True, note, detail, bounds)


def _mix(sample: Sample) -> str:
    """Which bundles the labelled answers are of, where there are several: the share is that of their mix."""
    if len(sample.by_bundle) < 2:
        return ""
    parts = [f"{bundle[:8]} {n:,}" for bundle, n in sample.by_bundle.items()]
    return f"of {len(parts)} bundles: {', '.join(parts)}; "


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
