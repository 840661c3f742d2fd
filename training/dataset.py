"""Deduplicate, settle conflicts, and make the ONLY splits: train / dev / calibration / test.

    python -m training.dataset data/support

prints size, balance, lengths, near-duplicates, conflicts and how they were settled, the splits and the content id.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from training.data.dataset import describe, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Describe a data set: size, balance, duplicates, conflicts, splits.")
    parser.add_argument("data", help="a folder, a file, or a Hugging Face data set name")
    try:
        print(describe(load(parser.parse_args(argv).data)))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
