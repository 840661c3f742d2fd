"""Deduplicate, settle conflicts, and make the ONLY splits: train / dev / calibration / test.

    python -m training.dataset data/support

prints size, balance, lengths, near-duplicates, conflicts and how they were settled, the splits and the content id.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from inference.common.commands import DONE, Parser, command
from training.data.dataset import load
from training.data.describe import describe


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = Parser(description="Describe a data set: size, balance, duplicates, conflicts, splits.")
    parser.add_argument("data", help="a folder, a file, or a Hugging Face data set name")
    print(describe(load(parser.parse_args(argv).data)))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
