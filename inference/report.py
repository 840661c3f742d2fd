"""Report from the decision log: five figures against their targets, intents, drift since calibration.

    python -m inference.report --log decisions.db --since 7d --bundle models/support

Counts are kept by the hour, so the period is made of whole hours (UTC). Latencies come from histograms with bins 12 %
wide. Accuracy is the live agreement of accepted local answers with the teacher, on the uniform sample; where labels are
missing, it is "incomplete" unless they cannot change the verdict. With --check the exit status is 1 if a target is
missed, or not known to be met; without any data there is nothing to miss. A promise that is suspended is said with what
that costs a day; --resume ends it by hand.
"""

from __future__ import annotations

import datetime
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.common import jsonl
from inference.common.commands import DONE, SOME_FAILED, Parser, command
from inference.log.counts import HOUR_S
from inference.log.decision_log import DecisionLog
from inference.log.figures import Figure, summarise
from inference.log.rates import KIND, WHY, newest, read_choices
from inference.log.suspension import resume, suspensions
from inference.log.trial import compare

LATEST = datetime.datetime(9999, 12, 31, 23, tzinfo=datetime.UTC).timestamp()  # the last hour that has a name
UNITS_S = {"h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of `7d`, `12h` or `2w` ago, of an ISO date or time (UTC unless it says), or of `now`.

    What lies before 1970 is 1970. Raises ValueError if it is none of these.
    """
    ago = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if ago:
        return max(0.0, now - int(ago[1]) * UNITS_S[ago[2]])
    if text == "now":
        return now
    try:
        found = datetime.datetime.fromisoformat(text)
        seconds = (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()
    except ValueError:
        raise ValueError(f"expected 7d, 12h, 2w, now or a date such as 2026-01-31, got {text[:80]!r}") from None
    return min(max(0.0, seconds), LATEST)


def period(since: str, until: str, now: float) -> tuple[float, float]:
    """The whole hours from one `moment` to the other. Raises ValueError if there are none."""
    first, last = moment(since, now) // HOUR_S * HOUR_S, -(-moment(until, now) // HOUR_S) * HOUR_S
    if first >= last:
        raise ValueError(f"the period is empty: it begins {utc(first)} and ends {utc(last)} UTC")
    return first, last


def render(report: Mapping[str, Any]) -> str:
    """The report for a person to read."""
    head = f"{report['log']}, {utc(report['since'])} to {utc(report['until'])} UTC (whole hours)"
    suspended = [*map(_suspended, report["suspended"]), *map(_sampled, report["sample_rates"])]
    if not report["requests"]:
        return "\n".join([f"{head}: no requests", *suspended])
    lines = [f"{head}: {report['requests']:,} requests", "", *suspended]
    lines += [_line(figure) for figure in report["figures"]]
    refused = report["refusals"]
    lines += ["", f"teachers named no intent in {refused['answers']:,} of {refused['of']:,} answers, "
              f"for {amount(refused['cost_usd'], 'usd')} of the cost"]  # fmt: skip
    lines += ["", "latencies are from histograms with bins 12 % wide", "", *_intent_lines(report["intents"]), ""]
    lines += [f"drift of {kind}: {_drift(found)}" for kind, found in (report["drift"] or {}).items()]
    lines += [*map(_own_target, report["own_targets"]), *_trial_lines(report["trial"])]
    dropped = ", ".join(f"{n:,} {value}" for value, n in sorted(report["rows_dropped"].items())) or "none"
    lines.append(f"log rows dropped: {dropped}; spilled to files on the way: {report['rows_spilled']:,}")
    return "\n".join(lines)


def _suspended(found: Mapping[str, Any]) -> str:
    level = found["accepts_at"]
    does = "nothing is accepted" if level is None else f"only what the certificate for {level:g} covers is accepted"
    text = f"SUSPENDED since {utc(found['since'])} UTC: the promise of {found['target']:g}; {does}"
    if found["more_calls_a_day"] is None:
        return text
    usd = "" if found["usd_a_day"] is None else f", {amount(found['usd_a_day'], 'usd')}"
    return f"{text}; about {found['more_calls_a_day']:,.0f} calls{usd} a day more than before"


def _sample_rates(log: DecisionLog) -> list[dict[str, Any]]:
    """The rates that the sample set itself and that hold now, by question. Raises LogError."""
    choices = read_choices(log.read_counts(kind=KIND))
    held = [newest(choices, question) for question in sorted({choice.question for choice in choices})]
    return [choice._asdict() | {"why": WHY.get(choice.why, choice.why)} for choice in held if choice]


def _sampled(found: Mapping[str, Any]) -> str:
    return f"sample rate {found['rate'] * 100:g} % since {utc(found['time'])} UTC, set by itself: {found['why']}"


def utc(seconds: float) -> str:
    """A time for a person to read."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _line(figure: Figure) -> str:
    target = f"{'>' if figure.at_least else '<'} {amount(figure.target, figure.unit)}"
    value = "-" if figure.value is None else amount(figure.value, figure.unit)
    return f"{figure.name:<18}{value:>12}   {target:<10}{figure.status:<11}{figure.note}".rstrip()


def amount(value: float, unit: str) -> str:
    """A figure with its unit: usd, ms or share."""
    if unit == "usd":
        return f"${value:.7f}".rstrip("0").rstrip(".")
    return f"{value:.3g} ms" if unit == "ms" else f"{value * 100:.4g} %"


def _intent_lines(intents: Sequence[Mapping[str, Any]]) -> list[str]:
    width = max([6, *(len(str(row["intent"])) for row in intents)])
    lines = [f"{'intent':<{width}}{'requests':>12}{'share':>9}   agreement in the sample"]
    for row in intents:
        agreement = f"{row['agreement'] * 100:.1f} % of {row['asked']:,}" if row["asked"] else "no data"
        lines.append(
            f"{row['intent'] or '(none)':<{width}}{row['requests']:>12,}{row['share'] * 100:>7.1f} %   {agreement}"
        )
    return lines


def _own_target(one: Mapping[str, Any]) -> str:
    lacking = f"not certified, never accepted: at least {one['lacks']:,} right rows are lacking"
    accepted = "certified; it is not watched, so no alarm is raised for it" if one["certified"] else lacking
    return f"own target of {one['intent']}: {amount(one['target'], 'share')}, {accepted}"


def _drift(found: Mapping[str, Any]) -> str:
    index = found["index"]
    if index is None:
        return str(found["verdict"])
    apart = f"{found['distance'] * 100:.1f} points apart, by chance in {found['chance'] * 100:.1f} % of cases"
    return f"{found['verdict']} ({apart}; population stability index {index:.3f})"


def _trial_lines(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    serving, on_trial = found["serving"], found["trial"]
    lines = ["", f"on trial: {found['requests']:,} requests of the sample, which both bundles answered; "
             f"{found['canary']:,} callers among them had the answer of the one on trial"]  # fmt: skip
    heads = [f"serving {serving['bundle_id'][:8]}", f"on trial {on_trial['bundle_id'][:8]}"]
    lines.append(f"{'':<12}{heads[0]:<34}{heads[1]}")
    figures = ("accepted", "agreement")
    lines += [f"{name:<12}{_share(serving[name]):<34}{_share(on_trial[name])}" for name in figures]
    times = [f"p50 {side['p50_ms']:.3g}, p95 {side['p95_ms']:.3g} ms" for side in (serving, on_trial)]
    lines.append(f"{'latency':<12}{times[0]:<34}{times[1]}")
    alone = [f"{role} on {found[role]['alone_right']:,}" for role in ("serving", "trial")]
    judged = (
        f"{found['differ_judged']:,} of these have a teacher's answer, which agrees with {' and with '.join(alone)}"
    )
    lines.append(f"they differ on {found['differ']:,}; {judged}")
    return [*lines, ""]


def _share(found: Mapping[str, Any]) -> str:
    if not found["of"]:
        return "no data"
    low, high = found["interval_95"]
    return f"{100 * found['share']:.1f} % of {found['of']:,} ({100 * low:.1f} to {100 * high:.1f})"


def _to_json(report: Mapping[str, Any]) -> str:
    figures = {figure.name: figure.to_json() for figure in report["figures"]}
    return jsonl.line({**report, "figures": figures}, indent=1)


def _missed(figures: Sequence[Figure]) -> bool:
    """Whether a target is missed, or not known to be met; said on standard error."""
    missed = [f"{figure.name} is {figure.status}" for figure in figures if figure.status in ("missed", "incomplete")]
    if missed:
        print(f"check: {', '.join(missed)}", file=sys.stderr)
    return bool(missed)


def _parser() -> Parser:
    parser = Parser(description="Report figures of a period from the decision log.")
    parser.add_argument("--log", required=True, help="the decision log: a file or a postgresql:// URL")
    parser.add_argument(
        "--since", default="7d", help="where the period begins: 7d, 12h, 2w ago, or a date (default %(default)s)"
    )
    parser.add_argument("--until", default="now", help="where the period ends, in the same form (default %(default)s)")
    parser.add_argument("--bundle", type=Path, help="models/<name>: report drift since its calibration")
    parser.add_argument(
        "--resume", action="store_true", help="accept again what a suspended promise left out, and do nothing else"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed, or may be")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    now = time.time()
    since, until = period(arguments.since, arguments.until, now)
    log = DecisionLog(arguments.log)
    if arguments.resume:
        print(f"{resume(log, now)} suspended promises are in force again, within a minute in all processes")
        return DONE
    report: dict[str, Any] = {"log": log.name, "since": since, "until": until}
    report |= summarise(log, since, until, arguments.bundle) | {"suspended": suspensions(log, now)}
    report |= {"sample_rates": _sample_rates(log), "trial": compare(log, since, until)}
    print(_to_json(report) if arguments.json else render(report))
    return SOME_FAILED if arguments.check and _missed(report["figures"]) else DONE


if __name__ == "__main__":
    sys.exit(main())
