"""Publish: seal a bundle, move it into place, and switch `current`, each step whole or not at all.

python -m training.publish --name support --list
python -m training.publish --name support --rollback
python -m training.publish --name support --promote VERSION
python -m training.publish --name support --shadow VERSION
python -m training.publish --name support --canary 5
python -m training.publish --name support --push s3://bucket/models/support

A version that did not pass the gate is promoted, or answers callers as a canary, with --force alone. With --shadow it
answers beside the serving one in the log, never to callers, and `python -m inference.report` shows both; with --canary
it answers a share of the callers. `--canary off` and `--shadow off` end this, and so does --promote.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle import trial
from inference.bundle.travel import push
from inference.bundle.versions import promote, reasons, rollback, serving, versions
from inference.common.commands import DONE, Parser, command
from inference.common.storage import shown


def _listed(home: Path, name: str) -> str:
    rejected = "; ".join(reasons(home, name))
    tried = trial.on_trial(home)
    on_trial = f"  on trial, {100 * tried.share:g} % of the callers" if tried and tried.version == name else ""
    serves = "  serving" if name == serving(home) else ""
    return name + serves + on_trial + (f"  rejected: {rejected}" if rejected else "")


def _shadow(home: Path, version: str) -> str:
    if version == "off":
        return "the trial is over" if trial.end(home) else "no version was on trial"
    return f"{trial.begin(home, version)} answers beside {serving(home)}, in the log alone"


def _canary(home: Path, percent: str, force: bool) -> str:
    try:
        share = 0.0 if percent == "off" else float(percent) / 100
    except ValueError:
        raise ValueError(f"--canary must be a number of per cent or off, got {percent!r}") from None
    version = trial.give(home, share, force)
    return f"{version} answers {100 * share:g} % of the callers" if share else f"{version} answers in the log alone"


def _parser() -> Parser:
    parser = Parser(description="List a model's versions, roll back, or promote one.")
    parser.add_argument("--name", required=True, help="the model's name under --models")
    parser.add_argument("--models", default="models", help="the folder that holds every model")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", action="store_true", help="print the versions, the serving one marked")
    action.add_argument("--rollback", action="store_true", help="serve the version before the serving one")
    action.add_argument("--promote", metavar="VERSION", help="serve this version")
    action.add_argument(
        "--shadow", metavar="VERSION", help="have it (or `latest`) answer in the log alone; off: no more"
    )
    action.add_argument(
        "--canary", metavar="PERCENT", help="have the version on trial answer so many callers; off: none"
    )
    action.add_argument("--push", metavar="URL", help="copy the serving version to shared storage and serve it there")
    parser.add_argument("--force", action="store_true", help="with --promote or --canary: a rejected version too")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    home = Path(arguments.models) / arguments.name
    if "" in (arguments.promote, arguments.shadow, arguments.canary, arguments.push):
        raise ValueError("an empty value: expected the version, per cent or URL after the flag")
    if not home.is_dir():
        raise ValueError(f"there is no model at {home}: give --name and --models")
    if arguments.rollback:
        print(f"serving {rollback(home)}")
    elif arguments.promote:
        promote(home, arguments.promote, arguments.force)
        print(f"serving {arguments.promote}")
    elif arguments.shadow:
        print(_shadow(home, arguments.shadow))
    elif arguments.canary:
        print(_canary(home, arguments.canary, arguments.force))
    elif arguments.push:
        print(f"{push(home, arguments.push)} serves at {shown(arguments.push)}")
    else:
        for name in versions(home):
            print(_listed(home, name))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
