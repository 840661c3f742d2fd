"""What a local student could answer, before one is trained: a forecast from labelled rows, in about two minutes.

    python -m training.scan traces.jsonl --requests-per-day 50000 --html scan.html

prints for each target the chance of a certificate and the coverage if there is one, with the present rows and with two
and four times as many; what that saves; and the intents that will not go local, and why. Nothing is kept: the rows are
divided only when they are trained on.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.bundle.redact import load_redactor
from inference.common import jsonl
from inference.common.commands import DONE, Parser, command, count
from inference.common.files import write_atomically
from inference.money.prices import Usage, add_prices_flag, cost
from inference.teachers.registry import HAIKU
from training.data import dataset
from training.data.advice import ONE_LABEL
from training.data.files import check_output
from training.data.foreign import FORMATS
from training.data.looks import look_delta
from training.data.sizes import Goal
from training.student.config import Config

TEACHER = HAIKU.partition(":")[2]


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    names = ("data", "target", "base", "redactor", "encoding", "format")
    config = Config(**{name: getattr(arguments, name) for name in names})
    if arguments.html:
        check_output(arguments.html, config.data)
    values = _scanned(config, arguments)
    if arguments.html:
        from training.lifecycle.scan_page import page

        write_atomically(arguments.html, page(values, Path(config.data).name).encode(), private=True)
    print(jsonl.line(values, ensure_ascii=False) if arguments.json else _text(values))
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description="Foretell what a local student could answer, from labelled rows.")
    parser.add_argument("data", help="a folder, a file, or a Hugging Face data set name")
    parser.add_argument("--target", type=float, default=Config.target, help="the agreement to look at intents under")
    parser.add_argument("--requests-per-day", type=count, default=10_000, help="requests a day (default %(default)s)")
    parser.add_argument("--teacher", default=TEACHER, help="the model that answers now, as in the price table")
    parser.add_argument("--tokens-in", type=count, default=ONE_LABEL.input_tokens, help="input tokens of a request")
    parser.add_argument("--tokens-out", type=count, default=ONE_LABEL.output_tokens, help="output tokens of a request")
    add_prices_flag(parser)
    parser.add_argument("--base", default=Config.base, help="base model whose embeddings are used")
    parser.add_argument("--redactor", default=Config.redactor, help="builtin, none or MODULE:FUNCTION, as in training")
    parser.add_argument("--encoding", default="", help="the files' encoding, where it is not found by itself")
    parser.add_argument("--format", default="rows", choices=FORMATS, help="what the records are (default rows)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots to this file")
    return parser


def _scanned(config: Config, arguments: argparse.Namespace) -> dict[str, Any]:
    load_of = (arguments.requests_per_day, arguments.teacher, arguments.tokens_in, arguments.tokens_out)
    cost(arguments.teacher, Usage())  # a teacher without a price is named before the rows are read
    redact = load_redactor(config.redactor)
    data = dataset.load(config.data, redact, whole=False, remember=False, reading=config.reading)
    # These take seconds to import, and invalid data need neither.
    import transformers

    from training.evaluation.certificate import TARGETS
    from training.labelling.second_opinion import features
    from training.lifecycle.scan import scan
    from training.lifecycle.scan_report import Load, record

    transformers.logging.set_verbosity_error()
    targets = dict.fromkeys((config.target, *TARGETS))
    goals = [Goal(target, look_delta(config.delta, 1)) for target in targets]
    found = scan(data, goals, functools.partial(features, base=config.base))
    return record(found, Load(*load_of), config.target)


def _text(values: dict[str, Any]) -> str:
    from training.lifecycle.scan_report import text

    return text(values)


if __name__ == "__main__":
    sys.exit(main())
