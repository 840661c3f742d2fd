"""What does the watch cost a day, and how soon does it find a broken promise, at a fixed sample rate and at `auto`?

    python -m benchmarks.price [--runs 200] [--quick]

Days of traffic, hour by hour: a share of the requests is sampled, 85 % of these were accepted, and a teacher says
whether they are right. After 40 days agreement falls from 97 to 90 %, in the answers that the student is less sure of.
Detector, confidence sequence and choice of the rate are those that serve. With `--publish` a bundle is published every
so many days. Finished cells are kept in the file `--out`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cells
from benchmarks.plots import lines
from benchmarks.watch import ACCEPTED, FALLS, TARGET, USUAL, answers, drawn, promise
from inference.log.promise import Promise
from inference.log.rates import FIRST, Choice, Seen, change

BEFORE_DAYS, MOST_DAYS, CALM_AFTER = 40, 400, 20
CALLS_A_DAY = 100.0
Step = Callable[[Choice | None, Promise, int, float, float], Choice | None]


def fixed(now: Choice | None, watched: Promise, bundle: int, requests: float, time: float) -> Choice | None:
    """The rate stays 1 %."""
    return now or Choice(time, "", FIRST, "")


def auto(now: Choice | None, watched: Promise, bundle: int, requests: float, time: float) -> Choice | None:
    """As it serves."""
    why = Seen(*watched.of(str(bundle)), TARGET, watched.evidence, False).why
    rate = change(now, why, requests, CALLS_A_DAY, time)
    return now if rate is None else Choice(time, "", rate, why)


WAYS: dict[str, Step] = {"1 %": fixed, "auto": auto}


def run(way: str, requests: float, publish_days: int, number: int) -> tuple[float, float, float, int]:
    """Calls a day at first and later, days until the alarm, and changes of the rate before the fall, of one history."""
    rng, watched = np.random.default_rng([number, 3]), promise()
    calls, now, changes = np.zeros(BEFORE_DAYS), None, 0
    for hour in range(24 * MOST_DAYS):
        day, bundle = hour // 24, hour // (24 * publish_days) if publish_days else 0
        before, now = now, WAYS[way](now, watched, bundle, requests, hour * 3600.0)
        n = rng.binomial(round(requests / 24), now.rate if now else FIRST)
        if day < BEFORE_DAYS:
            calls[day], changes = calls[day] + n, changes + (before is not now and before is not None)
        mix = USUAL if day < BEFORE_DAYS else FALLS["less sure answers"]
        audited = [one._replace(bundle_id=str(bundle)) for one in answers(*drawn(rng, mix, rng.binomial(n, ACCEPTED)))]
        if watched.add(audited, TARGET) and day >= BEFORE_DAYS:
            return calls[:7].mean(), calls[CALM_AFTER:].mean(), (hour + 1) / 24 - BEFORE_DAYS, changes
    return calls[:7].mean(), calls[CALM_AFTER:].mean(), float(MOST_DAYS), changes


def cell(way: str, requests: int, publish_days: int, runs: int) -> dict[str, Any]:
    found = np.array([run(way, requests, publish_days, number) for number in range(runs)])
    first, later, days, changes = found.T
    return {
        "first": first.mean(), "later": later.mean(), "changes": changes.mean(),
        "median": float(np.median(days)), "90 %": float(np.quantile(days, 0.9)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--publish", type=int, default=0, metavar="DAYS", help="publish a bundle so often (0: never)")
    parser.add_argument("--out", type=Path, default=Path("models/price.jsonl"), help="finished cells")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the days to an alarm as an SVG file")
    parser.add_argument("--quick", action="store_true", help="20 runs")
    arguments = parser.parse_args()
    runs, kept = 20 if arguments.quick else arguments.runs, Cells(arguments.out)
    print(f"a budget of {CALLS_A_DAY:g} calls a day; {runs} runs; a publish every {arguments.publish or '-'} days")
    days: dict[str, list[tuple[float, float]]] = {}
    for requests in (1_000, 10_000, 100_000):
        for way in WAYS:
            settings = {"way": way, "requests": requests, "publish": arguments.publish, "runs": runs}
            found = kept.run(settings, lambda w=way, r=requests: cell(w, r, arguments.publish, runs))  # type: ignore[misc]
            print(
                f"{requests:>7,} requests a day, {way:<4} {found['first']:6.1f} calls a day in the first week, "
                f"{found['later']:6.1f} after day {CALM_AFTER}; alarm after {found['median']:.1f} days (median), 90 % "
                f"within {found['90 %']:.1f}; {found['changes']:.1f} changes of the rate before the fall",
                flush=True,
            )
            days.setdefault(f"sample_rate {way}", []).append((requests, found["median"]))
    if arguments.plot:
        title = "From 97 to 90 % under a promise of 95: days until the alarm (median)"
        lines(arguments.plot, title, ("requests a day", "days"), days)


if __name__ == "__main__":
    main()
