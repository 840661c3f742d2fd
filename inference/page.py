"""Show the page of a model on this machine: its figures, intents, versions, operating point and review queue.

    python -m inference.page --bundle models/support

The service (inference.serve) shows the same page at /page; this is for a laptop with a copy of the model, or with the
address of its log. It listens on 127.0.0.1 alone and asks no teacher. What is decided in the review is written to the
log as corrections. --simulated shows a made-up history in the place of the log's. Needs the extra `serve`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inference.bundle.manifest import Bundle
from inference.bundle.travel import fetch, home_of
from inference.cascade import Cascade
from inference.common.commands import DONE, Parser, command, port
from inference.common.extras import needing
from inference.common.places import is_url


def _parser() -> Parser:
    parser = Parser(description="Show a model's figures, versions and review queue as a page on this machine.")
    parser.add_argument("--bundle", required=True, help="what to show: models/<name>, one version's folder or a URL")
    parser.add_argument("--log", default="", help="decision log: a file or postgresql:// URL; by default the model's")
    parser.add_argument("--policy", metavar="FILE", help="a TOML file with settings; MONOKU_* variables overrule it")
    parser.add_argument("--port", type=port, default=8001, help="the port, 0 for a free one (default %(default)s)")
    parser.add_argument("--simulated", action="store_true", help="show a made-up history of two weeks")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    with needing("serve", "the page"):
        from inference.service import server, settings
    with settings.listen("127.0.0.1", arguments.port, None) as sock, _log(arguments) as log:
        given: dict[str, Any] = {"log": log} if log else {}
        # Nobody is asked here, and a log that cannot be written is shown all the same.
        load = partial(
            Cascade.load, arguments.bundle, (), policy=arguments.policy, deferral="never", stores="warn", **given,
        )  # fmt: skip
        print(f"http://127.0.0.1:{sock.getsockname()[1]}/page", flush=True)
        chosen = settings.Settings(
            load, bundle=home_of(arguments.bundle), fetched=is_url(arguments.bundle), simulated=arguments.simulated
        )
        server.serve(chosen, sock, 1)
    return DONE


@contextlib.contextmanager
def _log(arguments: argparse.Namespace) -> Iterator[str]:
    """The log to show, "" for the policy's; a made-up one is deleted in the end."""
    if not arguments.simulated:
        yield arguments.log
        return
    from inference.service.page.simulated import simulate

    with tempfile.TemporaryDirectory(prefix="monoku-") as folder:
        place = fetch(arguments.bundle) if is_url(arguments.bundle) else arguments.bundle
        simulate(Path(folder) / "decisions.db", Bundle.load(place), time.time())
        yield str(Path(folder) / "decisions.db")


if __name__ == "__main__":
    sys.exit(main())
