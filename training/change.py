"""Change the taxonomy of labelled data: add, rename or drop intents without losing a label.

    python -m training.change --data data/support --taxonomy new.toml --out data/support-2 --teacher anthropic:MODEL
    python -m training.refresh --data data/support-2 --name support

Renamed and dropped intents are mapped (`--map old=new`). Where an intent is new, the teacher is asked about every row
under the new taxonomy, or about those of the old intents that it can come from (`--among general`): a row takes the new
intent if the teacher says so, and keeps its mapped label otherwise. The rule is the same in every split and knows
nothing of the student. Splits stay.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.taxonomy import Taxonomy
from inference.common.commands import DONE, Parser, command
from inference.money.prices import add_prices_flag
from inference.teachers.registry import FORMS, HAIKU
from training.data import dataset
from training.lifecycle.taxonomy_change import WAS, Change, ask_teacher, changed, check_new_data, to_ask, write


def _main(arguments: argparse.Namespace) -> int:
    new = Taxonomy.load(arguments.taxonomy)
    data = dataset.load(str(arguments.data))
    given = dict(item.split("=", 1) for item in arguments.map if "=" in item)
    if len(given) != len(arguments.map):
        raise ValueError("--map expects OLD=NEW")
    change = Change.between(data.taxonomy, new, given)
    rows = to_ask(data, change, arguments.among)
    check_new_data(arguments.data, arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"new intents     {', '.join(change.added) or 'none'}")
    print(f"to be labelled  {len(rows)} of {len(data.rows)} rows")
    answers = ask_teacher(rows, arguments, new) if rows else {}
    records = changed(data, change, answers)
    moved = collections.Counter((r[WAS], r["label"]) for r in records if WAS in r)
    for (was, now), count in moved.most_common():
        print(f"  {count:>6} {was} -> {now}")
    note = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from": data.taxonomy.id(),
        "to": new.id(),
        "from_question": data.taxonomy.question_id(),
        "to_question": new.question_id(),
        "mapping": {name: target for name, target in change.mapping.items() if name != target},
        "added": change.added,
        "among": arguments.among,
        "asked": len(rows),
        "moved": sum(moved.values()),
    }
    write(arguments, new, records, note)
    print(f"written         {arguments.out}\nnext: python -m training.refresh --data {arguments.out} --name NAME")
    return DONE


def _parser() -> Parser:
    parser = Parser(description="Change the taxonomy of labelled data without losing a label.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of labelled data as it is")
    parser.add_argument("--taxonomy", type=Path, required=True, help="the new taxonomy.toml")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--map", action="append", default=[], metavar="OLD=NEW", help="a renamed or dropped intent")
    parser.add_argument(
        "--among", nargs="+", default=[], metavar="OLD", help="old intents whose rows may be of a new one"
    )
    parser.add_argument("--teacher", default=HAIKU, help=f"{FORMS} (default %(default)s)")
    parser.add_argument("--mode", choices=("sync", "batch"), default="sync", help="batch: half the price")
    add_prices_flag(parser)
    parser.add_argument("--max-usd", type=float, help="never spend more on labelling")
    parser.add_argument(
        "--redactor", default="builtin", help="what removes personal data: builtin, none, or MODULE:FUNCTION"
    )
    parser.add_argument("--yes", action="store_true", help="spend without a question")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return _main(_parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
