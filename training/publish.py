"""Publish: seal a bundle, move it into place, and switch `current`, each step whole or not at all.

python -m training.publish --name support --list
python -m training.publish --name support --rollback
python -m training.publish --name support --promote VERSION
python -m training.publish --name support --push s3://bucket/models/support

A version that did not pass the gate is promoted with --force alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.travel import push
from inference.bundle.versions import promote, reasons, rollback, serving, versions
from inference.common.commands import DONE, Parser, command
from inference.common.places import shown


def _listed(home: Path, name: str) -> str:
    rejected = "; ".join(reasons(home, name))
    return name + ("  serving" if name == serving(home) else "") + (f"  rejected: {rejected}" if rejected else "")


def _parser() -> Parser:
    parser = Parser(description="List a model's versions, roll back, or promote one.")
    parser.add_argument("--name", required=True, help="the model's name under --models")
    parser.add_argument("--models", default="models", help="the folder that holds every model")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="print the versions, the serving one marked")
    action.add_argument("--rollback", action="store_true", help="serve the version before the serving one")
    action.add_argument("--promote", metavar="VERSION", help="serve this version")
    action.add_argument("--push", metavar="URL", help="copy the serving version to shared storage and serve it there")
    parser.add_argument("--force", action="store_true", help="with --promote: serve a version that was rejected too")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    home = Path(arguments.models) / arguments.name
    if arguments.rollback:
        print(f"serving {rollback(home)}")
    elif arguments.promote:
        promote(home, arguments.promote, arguments.force)
        print(f"serving {arguments.promote}")
    elif arguments.push:
        print(f"{push(home, arguments.push)} serves at {shown(arguments.push)}")
    else:
        for name in versions(home):
            print(_listed(home, name))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
