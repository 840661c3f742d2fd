"""A scan in figures and words: what it saves, as a record for JSON and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from inference.money.prices import Usage, cost, dollars
from inference.serving.policy import Policy
from training.lifecycle.scan import Outlook, Scan

DAYS = 30
MOST_INTENTS = 20
SAMPLED = Policy().first_sample_rate
NOTES = (
    "chance: of a certificate; coverage: the share of distinct texts that is answered locally, where there is one.",
    "Each target is taken to be the one that is named with --target. Rules are left out, and nothing is fine-tuned.",
    f"Saved: against the teacher for every request; of {SAMPLED:.0%} of all requests it is asked to measure agreement.",
)


@dataclass(frozen=True)
class Load:
    """One's own volume: requests a day, and what the teacher is asked with, in tokens a request, prompt included."""

    requests_per_day: int
    teacher: str
    tokens_in: int
    tokens_out: int

    @property
    def usd_per_request(self) -> float:
        """By the price table. Raises ValueError if the teacher has no price."""
        return dollars(cost(self.teacher, Usage(self.tokens_in, self.tokens_out)))

    @property
    def usd_per_month(self) -> float:
        return self.usd_per_request * self.requests_per_day * DAYS

    def saved(self, coverage: float) -> float:
        """Dollars a month that are not paid where so large a share is answered locally; never below 0."""
        return max(0.0, coverage - SAMPLED) * self.usd_per_month


def record(found: Scan, load: Load, target: float) -> dict[str, Any]:
    """The scan with its dollars, ready for JSON; `target` is the one under which the intents were looked at."""
    return {
        "rows": found.rows,
        "agreement": found.agreement,
        "target": target,
        "load": {**asdict(load), "usd_per_request": load.usd_per_request, "usd_per_month": load.usd_per_month},
        "targets": [
            {"target": one, "sizes": [_size(outlook, found.rows, load) for outlook in outlooks]}
            for one, outlooks in found.outlooks.items()
        ],
        "intents": [asdict(intent) for intent in found.intents],
        "notes": list(NOTES),
    }


def _size(outlook: Outlook, now: int, load: Load) -> dict[str, Any]:
    saved = None if outlook.coverage is None else load.saved(outlook.coverage)
    labels = (outlook.rows - now) * load.usd_per_request
    return {**asdict(outlook), "usd_for_labels": labels, "usd_saved_per_month": saved}


def text(values: Mapping[str, Any]) -> str:
    """What `record` gave, for a person."""
    lines = [
        f"{values['rows']} distinct rows; a student of about half of them agrees with {values['agreement']:.1%} of the "
        "other labels",
        "",
        f"{'target':>6}{'rows':>10}{'new labels':>12}{'chance':>9}{'coverage':>10}{'saved a month':>15}",
    ]
    for of_target in values["targets"]:
        lines += [_line(of_target["target"], size) for size in of_target["sizes"]]
    load = values["load"]
    bill = (
        f"{load['requests_per_day']:,} requests a day to {load['teacher']} cost ${load['usd_per_month']:,.2f} a month"
    )
    return "\n".join([*lines, "", bill, *values["notes"], "", *_intents(values)])


def _line(target: float, size: Mapping[str, Any]) -> str:
    coverage, saved = size["coverage"], size["usd_saved_per_month"]
    shown = ("-", "-") if coverage is None else (f"{coverage:.0%}", f"${saved:,.2f}")
    labels = f"${size['usd_for_labels']:,.2f}"
    return f"{target:>6.1%}{size['rows']:>10,}{labels:>12}{size['chance']:>9.0%}{shown[0]:>10}{shown[1]:>15}"


def staying(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The intents that will not go local."""
    return [intent for intent in values["intents"] if intent["why"]]


def _intents(values: Mapping[str, Any]) -> list[str]:
    stay = staying(values)
    if not stay:
        return [f"every intent goes local at {values['target']:.1%}"]
    head = f"{len(stay)} of {len(values['intents'])} intents will not go local at {values['target']:.1%}:"
    lines = [
        f"  {one['name']}: {one['rows']} rows, {one['agreement']:.0%} right, {one['local']:.0%} local; {one['why']}"
        for one in stay[:MOST_INTENTS]
    ]
    more = len(stay) - len(lines)
    return [head, *lines, *([f"  and {more} more (--json has all of them)"] if more else [])]
