"""`python -m training.train`: labelled queries in, a certified bundle out.

The stages, in order: dataset, student, export, calibrate, evaluate, publish. A run that was killed goes on from the
last epoch when it is started again with the same data and settings; nothing half-written is ever served.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from inference.common.commands import DONE, KEPT, Parser, command, naming_full_disk
from inference.money.prices import add_prices_flag
from training.student.config import add_flags, from_flags


def _parser() -> Parser:
    parser = Parser(description="Train a student on labelled queries and publish it as a certified bundle.")
    add_flags(parser)
    add_prices_flag(parser)
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--from-taxonomy",
        action="store_true",
        help="no labels yet: a guess by definitions and examples, never accepted",
    )
    way.add_argument(
        "--first-bundle",
        action="store_true",
        help="where none serves yet, publish a bundle that is not fine-tuned first; the full one then meets the gate",
    )
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    config = from_flags(arguments)
    # torch and transformers take seconds to import; --help and an invalid setting need neither.
    import transformers

    from training.lifecycle import day_zero, first, pipeline

    transformers.logging.set_verbosity_error()
    with naming_full_disk(config.home):
        if arguments.from_taxonomy:
            print(f"published {day_zero.from_taxonomy(config)}\nno label was seen: nothing that it answers is accepted")
            return DONE
        trained = first.train_first_and_full(config) if arguments.first_bundle else pipeline.train(config)
    return KEPT if trained.kept_back else DONE


if __name__ == "__main__":
    sys.exit(main())
