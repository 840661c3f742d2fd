"""The operating point: how much the serving bundle answers at which agreement, what it defers, and what that costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from inference.bundle.manifest import BundleError, Certificate, Manifest, read_manifest, resolve
from inference.costs import HAIKU, Load, Row, today
from inference.log.counts import DAY_S
from inference.log.figures import Slice
from inference.service.page import charts

NEAR = 0.012  # of coverage: within this a point is moved to the certified one beside it


class Traffic(NamedTuple):
    """One's own volume: requests a day, dollars for one answer of the teacher's, and where both come from."""

    requests_per_day: int
    usd: float
    source: str


class Stop(NamedTuple):
    """A point of the curve: shares, from 0 to 1. `target` is set where it is certified, else it is an estimate."""

    coverage: float
    agreement: float
    target: float | None = None


def traffic(found: Slice | None, wanted: int | None) -> Traffic:
    """The volume that a person `wanted`, else the log's; the price of the log's answers, else the list's."""
    days = (found.until - found.since) / DAY_S if found else 1.0
    own = round(found.requests / days) if found else 0
    load = Load(wanted or own or Load.requests_per_day)
    price = found.costs.usd_per_answer if found else None
    if price:
        return Traffic(load.requests_per_day, price, "the average of the answers in this period")
    nano = next(row.nano for row in today(load, None) if row.name == "every request, prompt cached")
    return Traffic(load.requests_per_day, float(nano) / 1e9, f"{HAIKU} by the price list")


def own_target(bundle: Path) -> float:
    """The agreement that a bundle promises by default. Raises BundleError."""
    return read_manifest(resolve(bundle)).target


def curve(bundle: Path) -> tuple[Manifest, list[Stop], list[Stop]]:
    """The bundle's manifest, its certified stops, and the estimates between them. Raises BundleError."""
    root = resolve(bundle)
    manifest = read_manifest(root)
    certified = [
        _certified(one, manifest.intents)
        for one in manifest.certificates
        if one.accept_above is not None and one.agreement is not None
    ]
    path = root / "report.json"
    try:
        points = [
            (float(share), float(risk)) for share, risk in json.loads(path.read_bytes())["risk_coverage"]["curve"]
        ]
        if not points or not all(0 <= one <= 1 for point in points for one in point):
            raise ValueError("expected shares from 0 to 1")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path} has no readable curve: {type(error).__name__}: {error}") from error
    return manifest, certified, [Stop(share, 1 - risk) for share, risk in points]


def _certified(pooled: Certificate, own: Sequence[Certificate]) -> Stop:
    """What is answered at a certificate, by the intents' own certificates too."""
    parts = [(one.coverage, one.agreement) for one in (pooled, *own) if one.agreement is not None]
    share = sum(coverage for coverage, _ in parts)
    return Stop(share, sum(coverage * agreement for coverage, agreement in parts) / share, pooled.target)


def operating(bundle: Path, own: Traffic, at: float | None, sample_rate: float) -> dict[str, Any]:
    """What the view shows. `at` is the share that a person chose, from 0 to 1. Raises BundleError."""
    manifest, certified, estimates = curve(bundle)
    serving = next((stop for stop in certified if stop.target == manifest.target), None)
    chosen = nearest(certified, estimates, serving.coverage if at is None and serving else at or 0.0)
    marks = [(stop.coverage, stop.agreement, stop.target or 0.0) for stop in certified]
    points = [(stop.coverage, stop.agreement) for stop in estimates]
    area = charts.risk_area(points, marks)
    stops = sorted({*certified, *estimates}, key=lambda stop: (stop.coverage, stop.target is not None))
    return {
        "chart": charts.risk(points, marks, (chosen.coverage, chosen.agreement)),
        "chosen": priced(chosen, own, sample_rate),
        "certified": [priced(stop, own, sample_rate) for stop in sorted(certified, key=lambda stop: stop.target or 0)],
        "uncertified": [one.target for one in manifest.certificates if one.accept_above is None],
        "stops": [_for_script(priced(stop, own, sample_rate), area) for stop in stops],
        "all_llm": _usd_per_month(Fraction(1), own),
        "traffic": own,
        "serving": manifest.target,
        "unit": manifest.unit,
        "sample_rate": sample_rate,
    }


def nearest(certified: Sequence[Stop], estimates: Sequence[Stop], share: float) -> Stop:
    """The certified stop within reach, else the nearest estimate."""
    close = [stop for stop in certified if abs(stop.coverage - share) <= NEAR]
    return min(close or [*estimates, *certified], key=lambda stop: abs(stop.coverage - share))


def priced(stop: Stop, own: Traffic, sample_rate: float) -> dict[str, Any]:
    """A stop with what it defers a day, and what the teacher's answers cost a month, those for the sample included."""
    deferred = 1 - stop.coverage
    asked = Fraction(min(1.0, deferred + sample_rate * stop.coverage))
    return {
        **stop._asdict(),
        "deferred": deferred,
        "deferred_per_day": round(deferred * own.requests_per_day),
        "usd_per_month": _usd_per_month(asked, own),
    }


def _usd_per_month(share: Fraction, own: Traffic) -> float:
    row = Row("", "", Fraction(own.usd) * 10**9 * share, share)
    return float(row.to_dict(Load(own.requests_per_day))["usd_per_month"])


def _for_script(values: dict[str, Any], area: charts.Area) -> dict[str, Any]:
    words = "certified" if values["target"] else "an estimate, not promised"
    return {
        "share": values["coverage"],
        "x": round(area.x(values["coverage"]), 1),
        "y": round(area.y(values["agreement"]), 1),
        "target": values["target"],
        "answered": f"{values['coverage']:.1%}",
        "agreement": f"{values['agreement']:.1%}",
        "deferred": f"{values['deferred_per_day']:,} a day ({values['deferred']:.1%})",
        "usd": charts.dollars(values["usd_per_month"]),
        "promise": f"certified for {values['target']:.1%}" if values["target"] else words,
    }
