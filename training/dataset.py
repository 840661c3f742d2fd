"""Redact, deduplicate, settle conflicts, and make the ONLY splits: train / dev / calibration / test.

    python -m training.dataset data/support

prints size, balance, lengths, near-duplicates, conflicts and how they were settled, the splits and the content id.
With --resplit all rows are divided anew, by the shares for their present number, and a new lineage begins.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.redact import load_redactor
from inference.common.commands import DONE, Parser, command
from inference.money.prices import add_prices_flag
from training.data.advice import shortfall
from training.data.dataset import load
from training.data.describe import describe
from training.data.foreign import FORMATS
from training.data.kept import begin_anew, splits_home
from training.data.looks import look_delta
from training.data.sizes import Goal
from training.student.config import Config


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    config = Config(**{name: value for name, value in vars(arguments).items() if name not in ("resplit", "prices")})
    if arguments.resplit:
        _resplit(Path(config.data))
    goal = Goal(config.target, look_delta(config.delta, 1))
    data = load(config.data, load_redactor(config.redactor), goal=goal, reading=config.reading)
    print(describe(data))
    print(shortfall(data, goal, config.data) or f"enough calibration rows to certify {goal.target:.1%} at best")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description="Describe a data set: size, balance, duplicates, conflicts, splits.")
    parser.add_argument("data", help="a folder, a file, or a Hugging Face data set name")
    parser.add_argument("--target", type=float, default=Config.target, help="the agreement that is to be certified")
    parser.add_argument("--redactor", default=Config.redactor, help="builtin, none or MODULE:FUNCTION, as in training")
    add_prices_flag(parser)
    parser.add_argument("--encoding", default="", help="the files' encoding, where it is not found by itself")
    parser.add_argument("--format", default="rows", choices=FORMATS, help="what the records are (default rows)")
    parser.add_argument("--resplit", action="store_true", help="divide all rows anew and begin a new lineage")
    return parser


def _resplit(data: Path) -> None:
    home = splits_home(data, None)
    if home is None:
        raise ValueError(f"{data}: no folder that may be written to; copy the data first")
    number = begin_anew(home)
    print(f"new splits; the old ones are splits.json.{number}. Looks at the calibration rows count from 1 again.")
    print("Models trained before have seen other rows: nothing that was promised or measured for them holds here.")


if __name__ == "__main__":
    sys.exit(main())
