"""Which labels a person should look at, as lines of JSON and as a page; what they decide comes back as corrections.

    python -m training.suspects --name support --data data/support --out suspects.jsonl --html suspects.html
    python -m training.suspects --name support --decided decided.jsonl

The page saves decided.jsonl; or fill in `decision` in the lines by hand. Decisions go to the model's decision log, from
which the next training.refresh takes them. Only rows that train are shown: those that judge are never chosen for what a
student says of them. Rows about which a person has decided are not shown again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle import versions
from inference.bundle.manifest import Bundle
from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common.commands import DONE, Parser, command
from inference.common.files import write_atomically
from training.data.files import check_output
from training.lifecycle.decisions import decide, to_look_at
from training.lifecycle.suspects_page import page
from training.student.config import Config


def _parser() -> argparse.ArgumentParser:
    parser = Parser(description="Write the labels that a person should look at, or take what they decided.")
    parser.add_argument("--name", required=True, help="the model's name under --models")
    parser.add_argument("--models", default=Config.models, help="the folder that holds every model")
    parser.add_argument("--data", default="", help="base data; without it only rows from traffic are looked at")
    parser.add_argument("--log", default="", help="decision log: a file or postgresql:// URL; by default the model's")
    parser.add_argument("--spill", type=Path, help="folder of rows that wait for the log; by default the model's")
    parser.add_argument("--base", default=Config.base, help="base model whose embeddings are used")
    parser.add_argument("--redactor", default=Config.redactor, help="builtin, none or MODULE:FUNCTION, as in training")
    parser.add_argument("--most", type=int, default=200, help="rows to write at most (default %(default)s)")
    parser.add_argument("--out", type=Path, help="write the rows to this file, as lines of JSON")
    parser.add_argument("--html", type=Path, help="write a page to decide on to this file")
    parser.add_argument("--decided", type=Path, metavar="FILE", help="take the decisions in this file, and do no more")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not (arguments.decided or arguments.out or arguments.html):
        parser.error("give --out or --html for rows to look at, or --decided for what was decided")
    config = Config(data=arguments.data, name=arguments.name, models=arguments.models, redactor=arguments.redactor)
    if arguments.decided:
        count = decide(config.home, arguments.log, arguments.decided, _taxonomy(config), arguments.spill)
        print(f"{count} new corrections\nnext: python -m training.refresh --name {config.name} --data DATA")
        return DONE
    return _find(config, arguments)


def _find(config: Config, arguments: argparse.Namespace) -> int:
    for path in filter(None, (arguments.out, arguments.html)):
        check_output(path, config.data)
    redact = load_redactor(config.redactor)
    rows, taxonomy = to_look_at(config, arguments.log, redact)
    # These take seconds to import, and --decided needs neither.
    import transformers

    from inference.classifier import Classifier
    from training.lifecycle.suspects import suspects

    transformers.logging.set_verbosity_error()
    student = Classifier.load(config.home, redactor=redact) if versions.serving(config.home) else None
    found = suspects(rows, student, arguments.base)
    kept = found[: arguments.most]
    if arguments.out:
        lines = "".join(json.dumps(one.to_record(), ensure_ascii=False) + "\n" for one in kept)
        write_atomically(arguments.out, lines.encode("utf-8", "replace"), private=True)
    if arguments.html:
        write_atomically(arguments.html, page(kept, taxonomy.names, config.name).encode(), private=True)
    print(f"{len(found)} of {len(rows)} rows that train look suspect, {len(kept)} were written")
    return DONE


def _taxonomy(config: Config) -> Taxonomy:
    return Bundle.load(config.home).taxonomy


if __name__ == "__main__":
    sys.exit(main())
