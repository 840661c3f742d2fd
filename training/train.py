"""`python -m training.train`: labelled queries in, a certified bundle out.

The stages, in order: dataset, student, export, calibrate, evaluate, publish. A run that was killed goes on from the
last epoch when it is started again with the same data and dials; nothing half-written is ever served.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

import transformers

from inference.common.locks import Busy
from training.lifecycle.pipeline import train
from training.student import export
from training.student.config import parse

FULL_DISK = 1 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    config = parse(argv, "Train a student on labelled queries and publish it as a certified bundle.")
    transformers.logging.set_verbosity_error()
    try:
        train(config)
    except (ValueError, OSError, Busy, export.ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        # On a full disk the libraries fail in words of their own, each in another way.
        if shutil.disk_usage(config.home).free > FULL_DISK:
            raise
        print(f"error: no space left under {config.models} ({error}); nothing was published", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
