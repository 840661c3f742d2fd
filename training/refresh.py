"""Relabel and retrain: collect what the cascade deferred, label the rest, train, compare, publish or keep.

    python -m training.refresh --name support --data data/support --log models/support/decisions.db

Run it as often as you like. Nothing new: nothing is done. Exit status: 0 published or nothing to do, 1 the teacher
answered nothing that it was asked, 3 trained but not published because it did not pass the gate, 4 another refresh is
at work; the rest as in inference/common/commands.py.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from inference.common import jsonl, settings
from inference.common.commands import DONE, Parser, command, naming_full_disk
from inference.money.prices import add_prices_flag, shown
from training.lifecycle.options import Options, Summary
from training.lifecycle.round import drop_round, refresh
from training.student.config import Config, add_flags, from_flags, given


def _parser() -> Parser:
    parser = Parser(description="Relabel and retrain a model from its decision log.")
    add_flags(parser)
    settings.add_flags(parser, Options, leave_out=("from_data",))
    add_prices_flag(parser)
    parser.add_argument("--no-data", dest="from_data", action="store_false", help="no base data: the log alone")
    parser.add_argument("--dry-run", action="store_true", help="print what would be chosen and what it costs at most")
    parser.add_argument(
        "--drop-round", type=int, metavar="N", help="stop using the labels of round N, and do nothing else"
    )
    parser.add_argument("--json", action="store_true", help="print the summary as one line of JSON")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    config = from_flags(arguments)
    if arguments.drop_round is not None:
        print(f"{drop_round(config, arguments.drop_round)} labels of round {arguments.drop_round} are no longer used")
        return DONE
    options = Options(**settings.from_flags(Options, arguments))
    if options.from_data and config.name not in ("", Path(Config.data).name) and "data" not in given(arguments):
        raise ValueError(f"give --data with the base data of {config.name}, or --no-data to train on its log alone")
    quiet = contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext()
    with naming_full_disk(config.home), quiet:
        summary = refresh(config, options, arguments.dry_run)
    print(jsonl.line(asdict(summary)) if arguments.json else describe(summary))
    return summary.status


def describe(summary: Summary) -> str:
    """The summary for a person."""
    lines = [f"round {summary.round}: {summary.outcome}"]
    lines += [f"  {count:>6} {what}" for what, count in summary.chosen.items() if count]
    lines += [f"  {summary.labelled:>6} labelled now", f"  at most {shown(round(summary.usd * 1e9))} for labels"]
    lines += [f"  {reason}" for reason in summary.reasons]
    if summary.version:
        lines.append(f"  version {summary.version}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
