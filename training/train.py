"""`python -m training.train`: labelled queries in, a certified bundle out.

The stages, in order: dataset, student, export, calibrate, evaluate, publish. A run that was killed goes on from the
last epoch when it is started again with the same data and settings; nothing half-written is ever served.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from inference.common.commands import DONE, Parser, command, naming_full_disk
from inference.money.prices import add_prices_flag
from training.student.config import add_flags, from_flags


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = Parser(description="Train a student on labelled queries and publish it as a certified bundle.")
    add_flags(parser)
    add_prices_flag(parser)
    config = from_flags(parser.parse_args(argv))
    # torch and transformers take seconds to import; --help and an invalid setting need neither.
    import transformers

    from training.lifecycle.pipeline import train

    transformers.logging.set_verbosity_error()
    with naming_full_disk(config.home):
        train(config)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
