"""What classification costs a month: the strategies side by side, from the price table.

    python -m inference.costs --bundle models/support --requests-per-day 10000 --tokens-in 200 --tokens-out 10

First the classic comparison at the prices of its time, then today's: Claude Haiku 5.5 for every request, and for those
alone that the bundle's own certificate does not let the local model answer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from inference.bundle.manifest import BundleError, read_manifest, resolve
from inference.common import jsonl
from inference.common.commands import DONE, Parser, command, count
from inference.money.prices import CACHED_FROM_TOKENS, Usage, add_prices_flag, cost, price_of

DAYS = 30
SONNET, OLD_HAIKU, HAIKU = "claude-3-5-sonnet-20241022", "claude-3-haiku-20240307", "claude-haiku-5-5"
HYBRID_SHARE = Fraction(3, 10)


@dataclass(frozen=True)
class Load:
    """How many requests there are a day, and how many tokens each is. `prompt_tokens` is the fixed system prompt."""

    requests_per_day: int = 10_000
    tokens_in: int = 200
    tokens_out: int = 10
    prompt_tokens: int = 700


@dataclass(frozen=True)
class Row:
    """One strategy: nano-dollars per request, of whatever tier, and the share of requests that the teacher answers."""

    group: str
    name: str
    nano: Fraction
    share: Fraction = Fraction(1)

    def to_dict(self, load: Load) -> dict[str, Any]:
        """Dollars per month and per request."""
        per_request = self.nano / 10**9
        return {
            "group": self.group,
            "name": self.name,
            "usd_per_month": float(per_request * load.requests_per_day * DAYS),
            "usd_per_request": float(per_request),
            "share_of_all_teacher": float(self.share),
        }


def classic(load: Load) -> list[Row]:
    """The comparison from which cascades set out: two models of 2024, and the cheaper one for 30 % of requests."""
    usage = Usage(load.tokens_in, load.tokens_out)
    group = f"{load.tokens_in} tokens in, {load.tokens_out} out, prices of their time"
    sonnet, haiku = (Fraction(cost(model, usage)) for model in (SONNET, OLD_HAIKU))
    return [
        Row(group, f"Claude 3.5 Sonnet ({price_of(SONNET).note})", sonnet),
        Row(group, f"Claude 3 Haiku ({price_of(OLD_HAIKU).note})", haiku),
        Row(group, f"hybrid: Claude 3 Haiku for {float(HYBRID_SHARE):.0%}", haiku * HYBRID_SHARE, HYBRID_SHARE),
    ]


def today(load: Load, coverage: float | None) -> list[Row]:
    """Claude Haiku 5.5 today; the cascade too where the share of requests is known that it answers locally."""
    bare, alone = Usage(load.tokens_in, load.tokens_out), "Claude Haiku 5.5, the same tokens"
    full = bare + Usage(load.prompt_tokens)
    group = f"Claude Haiku 5.5, a system prompt of {load.prompt_tokens} tokens before each"
    cached = Fraction(cost(HAIKU, _cached(load)))
    rows = [
        Row(alone, "every request", Fraction(cost(HAIKU, bare))),
        Row(alone, "every request, in batches", Fraction(cost(HAIKU, bare, batch=True))),
        Row(group, "every request, uncached", Fraction(cost(HAIKU, full))),
        Row(group, "every request, prompt cached", cached),
        Row(group, "every request, in batches, uncached", Fraction(cost(HAIKU, full, batch=True))),
    ]
    if coverage is not None:
        deferred = 1 - Fraction(str(coverage))
        rows.append(Row(group, f"cascade: {float(deferred):.1%} deferred, prompt cached", cached * deferred, deferred))
    return rows


def _cached(load: Load) -> Usage:
    if load.prompt_tokens < CACHED_FROM_TOKENS:
        return Usage(load.tokens_in + load.prompt_tokens, load.tokens_out)
    return Usage(load.tokens_in, load.tokens_out, cache_read_tokens=load.prompt_tokens)


def coverage_of(bundle: str) -> float:
    """The share of the calibration sample that the bundle answers itself, certified at its own target.

    Raises BundleError if there is no bundle or it has no such certificate.
    """
    root = resolve(Path(bundle))
    manifest = read_manifest(root)
    for certificate in manifest.certificates:
        if certificate.target == manifest.target:
            return certificate.coverage
    raise BundleError(f"{root} has no certificate for target {manifest.target}")


def notes(load: Load, coverage: float | None) -> list[str]:
    """What has to be known to read the table."""
    price, small = price_of(HAIKU), load.prompt_tokens < CACHED_FROM_TOKENS
    write = cost(HAIKU, Usage(cache_write_tokens=load.prompt_tokens)) / 1e9
    lines = [
        f"{load.requests_per_day:,} requests a day, {DAYS} days; prices of {HAIKU}: {price.source}, {price.date}",
        "of all-teacher: the same teacher, asked in the same way, for every request",
        f"Haiku 5.5 caches a prompt of at least {CACHED_FROM_TOKENS} tokens: "
        + (
            "this one is too short, it pays the full price"
            if small
            else f"each write, not counted here, costs ${write:.7f}"
        ),
    ]
    if coverage is None:
        return [*lines, "no --bundle was given: the row of the cascade is left out"]
    return [
        *lines,
        f"the bundle answers {coverage:.1%} of its calibration sample itself, certified at its own target",
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a person."""
    lines, group = [f"{'':<48}{'$ per month':>13}{'$ per request':>16}{'of all-teacher':>16}"], ""
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines.append(group)
        per_month, share = row["usd_per_month"], row["share_of_all_teacher"]
        figures = f"{per_month:>13,.{3 if per_month < 10 else 2}f}{row['usd_per_request']:>16.7f}{share:>16.1%}"
        lines.append(f"  {row['name']:<46}{figures}")
    return "\n".join(lines)


def _parser() -> Parser:
    parser = Parser(description="What classification costs a month, by strategy.")
    parser.add_argument("--bundle", help="models/<name>, or the folder of one version: adds the cascade")
    parser.add_argument("--requests-per-day", type=count, default=10_000, help="requests a day (default %(default)s)")
    parser.add_argument("--tokens-in", type=count, default=200, help="input tokens of a request (default %(default)s)")
    parser.add_argument("--tokens-out", type=count, default=10, help="output tokens of a request (default %(default)s)")
    parser.add_argument(
        "--prompt-tokens", type=count, default=700, help="tokens of the system prompt (default %(default)s)"
    )
    add_prices_flag(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    load = Load(arguments.requests_per_day, arguments.tokens_in, arguments.tokens_out, arguments.prompt_tokens)
    coverage = None if arguments.bundle is None else coverage_of(arguments.bundle)
    rows, remarks = [row.to_dict(load) for row in classic(load) + today(load, coverage)], notes(load, coverage)
    if arguments.json:
        print(jsonl.line({"rows": rows, "notes": remarks}))
    else:
        print(table(rows), "", *remarks, sep="\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
