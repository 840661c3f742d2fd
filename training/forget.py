"""Forget a person's text: delete it wherever the log, the caches and training keep it.

    echo "the text" | python -m training.forget --name support --stdin

A text is found however its case and white space were, and as it was redacted. Counts stay. Base data is yours: with
--data its places are listed, and the file is left as it is. A running cascade keeps answers in its memory for a while:
call Cascade.forget there. Run it again as often as you like. Exit status: 0 done, also where nothing was found; 4 a
refresh is at work; the rest as in inference/common/commands.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.redact import load_redactor, of_the_beginning
from inference.common.commands import DONE, FAILED, Parser, command
from inference.common.text import Forgotten
from training.lifecycle.forgetting import Places, forget, standing_in


def _parser() -> Parser:
    parser = Parser(description="Delete a person's text wherever the log, the caches and training keep it.")
    parser.add_argument("--name", required=True, help="the model's name under --models")
    parser.add_argument("--models", default="models", help="the folder that holds every model (default %(default)s)")
    parser.add_argument("--log", default="", help="decision log: a file or postgresql:// URL; by default the model's")
    parser.add_argument("--spill", type=Path, help="folder of rows that wait for the log; by default the model's")
    parser.add_argument(
        "--labelled", nargs="+", type=Path, default=[], metavar="FILE", help="outputs of training.label"
    )
    parser.add_argument("--redis", default="", help="redis:// URL of the cache that processes share")
    parser.add_argument("--data", type=Path, help="base data: list where the text stands in it, and change nothing")
    parser.add_argument(
        "--redactor", default="builtin", help="what removed personal data: builtin, none, or MODULE:FUNCTION"
    )
    text = parser.add_mutually_exclusive_group(required=True)
    text.add_argument("--text", help="the text; a shell may keep it in its history, so prefer --stdin")
    text.add_argument("--stdin", action="store_true", help="read the text from the standard input")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    redact = load_redactor(arguments.redactor)
    text = sys.stdin.read() if arguments.stdin else arguments.text
    forgotten = Forgotten(text, redact, of_the_beginning(redact))
    standing = standing_in(arguments.data, forgotten) if arguments.data else []
    home = Path(arguments.models).absolute() / arguments.name
    found = forget(Places(home, arguments.log, arguments.labelled, arguments.redis, arguments.spill), forgotten)
    for place, count in found.gone.items():
        if count:
            print(f"deleted {count:>6} in {place}")
    for place in standing:
        print(f"still in base data, delete it there: {place}")
    if not (any(found.gone.values()) or standing or found.errors):
        print("nothing was found")
    for error in found.errors:
        print(f"error: {error}", file=sys.stderr)
    return FAILED if found.errors else DONE


if __name__ == "__main__":
    sys.exit(main())
