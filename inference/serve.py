"""Serve a bundle over HTTP, for applications that are not written in Python.

    python -m inference.serve --bundle models/support --teacher anthropic:claude-haiku-5-5

POST /classify answers one text or several, POST /feedback records a correction; GET /healthz, /readyz, /version,
/metrics and /docs say the rest, /page shows figures, versions and what to review. It listens on 127.0.0.1 alone unless
there is a token, in MONOKU_TOKEN or a file. Settings of the policy come from --policy and from MONOKU_* variables.
Needs the extra `serve`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from inference.bundle.travel import home_of
from inference.cascade import Cascade
from inference.common.commands import DONE, Parser, command, count, port
from inference.common.extras import needing
from inference.common.places import is_url


def _parser() -> Parser:
    parser = Parser(description="Serve a bundle over HTTP.")
    parser.add_argument("--bundle", required=True, help="what to serve: models/<name>, one version's folder or a URL")
    parser.add_argument(
        "--teacher", action="append", default=[], metavar="NAME",
        help="whom to ask where the local answer is not certified, such as anthropic:MODEL; several are asked in order",
    )  # fmt: skip
    parser.add_argument("--taxonomy", help="the intents, before there is a bundle: a TOML file")
    parser.add_argument("--policy", metavar="FILE", help="a TOML file with settings; MONOKU_* variables overrule it")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default %(default)s)")
    parser.add_argument("--port", type=port, default=8000, help="the port, 0 for a free one (default %(default)s)")
    parser.add_argument("--workers", type=count, default=1, help="processes that serve (default %(default)s)")
    parser.add_argument("--token-file", metavar="FILE", help="the file with the token (default: MONOKU_TOKEN)")
    parser.add_argument(
        "--max-body-bytes", type=count, default=1 << 20, metavar="N", help="of one request (default %(default)s)"
    )
    parser.add_argument(
        "--max-texts", type=count, default=100, metavar="N", help="in one request (default %(default)s)"
    )
    parser.add_argument(
        "--slow-s", type=count, default=10, metavar="N",
        help="seconds within which a request must have come (default %(default)s)",
    )  # fmt: skip
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    with needing("serve", "the service"):
        from inference.service import server, settings
    token = settings.read_token(arguments.token_file)
    limits = settings.Limits(arguments.max_body_bytes, arguments.max_texts, float(arguments.slow_s))
    load = partial(
        Cascade.load, arguments.bundle, tuple(arguments.teacher), taxonomy=arguments.taxonomy, policy=arguments.policy
    )
    with settings.listen(arguments.host, arguments.port, token) as sock:
        chosen = settings.Settings(
            load, token, limits, bundle=home_of(arguments.bundle), fetched=is_url(arguments.bundle),
            secret=settings.page_secret(token),
        )  # fmt: skip
        server.serve(chosen, sock, arguments.workers)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
