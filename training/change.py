"""Change the taxonomy of labelled data: add, rename or drop intents without losing a label.

    python -m training.change --data data/support --taxonomy new.toml --out data/support-2 --teacher anthropic:MODEL
    python -m training.train --data data/support-2 --name support

Renamed and dropped intents are mapped (`--map old=new`). Where an intent is new, the teacher is asked about every row
under the new taxonomy, or about those of the old intents that it can come from (`--among general`): a row takes the new
intent if the teacher says so, and keeps its mapped label otherwise. The rule is the same in every split and knows
nothing of the student. Splits stay.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import datetime
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.guard import LedgerDown
from inference.redact import load_redactor
from inference.taxonomy import Taxonomy
from inference.teacher import FORMS, HAIKU, TeacherError, open_teacher
from training import dataset
from training.dataset import SPLITS_FILE, Dataset
from training.job import Job
from training.label import Options, consent, label
from training.queries import Query
from training.rows import Row, text_key, to_record


@dataclass(frozen=True)
class Change:
    """What lies between two taxonomies: old intent → new one, and the intents that no old one maps to."""

    mapping: Mapping[str, str]
    added: tuple[str, ...]

    @classmethod
    def between(cls, old: Taxonomy, new: Taxonomy, given: Mapping[str, str]) -> Change:
        """Raises ValueError for an old intent that is gone and not mapped, and for a mapping of or to none."""
        for name, target in given.items():
            if name not in old.names or target not in new.names:
                raise ValueError(f"--map {name}={target}: {name!r} must be an old intent and {target!r} a new one")
        mapping = {name: given.get(name, name) for name in old.names}
        gone = sorted(name for name, target in mapping.items() if target not in new.names)
        if gone:
            where = f"--map {gone[0]}=NEW"
            raise ValueError(f"{', '.join(gone)} would lose its labels: say where they go with {where}")
        return cls(mapping, tuple(name for name in new.names if name not in mapping.values()))


def changed(data: Dataset, change: Change, answers: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows under the new taxonomy, as records. `answers` are the teacher's rows by query key."""
    return [_changed(row, change, answers.get(text_key(row.text))) for row in data.rows]


def _changed(row: Row, change: Change, answer: dict[str, Any] | None) -> dict[str, Any]:
    record = {**to_record(row), "label": change.mapping[row.label]}
    if row.gold is not None:
        record["gold"] = change.mapping.get(row.gold, row.gold)
    if row.shares is not None:
        shares: collections.Counter[str] = collections.Counter()
        for name, share in row.shares.items():
            shares[change.mapping[name]] += share  # type: ignore[assignment]
        record["shares"] = dict(shares)
    if answer is not None and answer["label"] in change.added:
        record |= {"label": answer["label"], "labeler": answer["labeler"], "prompt_id": answer["prompt_id"]}
        record.pop("shares", None)
    if record["label"] != row.label:
        record["was"] = row.label
    return record


def to_ask(data: Dataset, change: Change, among: Sequence[str]) -> list[Row]:
    """The rows that may be of a new intent: those labelled with one of `among`, or all. Raises ValueError."""
    for name in among:
        if name not in data.taxonomy.names:
            raise ValueError(f"--among {name}: expected an old intent ({', '.join(data.taxonomy.names)})")
    return [row for row in data.rows if change.added and (not among or row.label in among)]


def _ask(rows: Sequence[Row], arguments: argparse.Namespace, taxonomy: Taxonomy) -> dict[str, dict[str, Any]]:
    """The teacher's answers for `rows`, through training.label: priced, capped, resumable."""
    redact = load_redactor(arguments.redactor)
    queries = {text_key(row.text): Query(redact(row.text), text_key(row.text)) for row in rows}
    with Job(
        arguments.out / ".relabelled.jsonl", open_teacher(arguments.teacher, taxonomy), cap_usd=arguments.max_usd
    ) as job:
        options = Options(arguments.mode, confirm=consent(arguments.yes))
        failed = asyncio.run(label(list(queries.values()), job, options))
        answers = job.rows()
    if failed:
        reason = next(iter(failed.values()))
        raise ValueError(f"{len(failed)} rows have no answer ({reason}); run the same command again to go on")
    return answers


def _write(arguments: argparse.Namespace, taxonomy: Taxonomy, records: Sequence[dict[str, Any]], note: Any) -> None:
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (arguments.out / "queries.jsonl").write_text(text, encoding="utf-8")
    (arguments.out / "taxonomy.toml").write_text(taxonomy.to_toml(), encoding="utf-8")
    for name in (SPLITS_FILE, "changes.jsonl"):
        if (arguments.data / name).is_file():
            shutil.copy(arguments.data / name, arguments.out / name)
    with (arguments.out / "changes.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")


def _main(arguments: argparse.Namespace) -> int:
    new = Taxonomy.load(arguments.taxonomy)
    data = dataset.load(str(arguments.data))
    given = dict(item.split("=", 1) for item in arguments.map if "=" in item)
    if len(given) != len(arguments.map):
        raise ValueError("--map takes OLD=NEW")
    change = Change.between(data.taxonomy, new, given)
    rows = to_ask(data, change, arguments.among)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(f"new intents     {', '.join(change.added) or 'none'}")
    print(f"to be asked     {len(rows)} of {len(data.rows)} rows")
    answers = _ask(rows, arguments, new) if rows else {}
    records = changed(data, change, answers)
    moved = collections.Counter((r["was"], r["label"]) for r in records if "was" in r)
    for (was, now), count in moved.most_common():
        print(f"  {count:>6} {was} -> {now}")
    note = {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "from": data.taxonomy.id(),
        "to": new.id(),
        "mapping": {name: target for name, target in change.mapping.items() if name != target},
        "added": change.added,
        "asked": len(rows),
        "moved": sum(moved.values()),
    }
    _write(arguments, new, records, note)
    print(f"written         {arguments.out}\nnext: python -m training.train --data {arguments.out} --name NAME")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Change the taxonomy of labelled data without losing a label.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of labelled data as it is")
    parser.add_argument("--taxonomy", type=Path, required=True, help="the new taxonomy.toml")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--map", action="append", default=[], metavar="OLD=NEW", help="a renamed or dropped intent")
    parser.add_argument("--among", nargs="+", default=[], metavar="OLD", help="intents that a new one can come from")
    parser.add_argument("--teacher", default=HAIKU, help=f"{FORMS} (default %(default)s)")
    parser.add_argument("--mode", choices=("sync", "batch"), default="sync")
    parser.add_argument("--max-usd", type=float, help="hard cap for labelling")
    parser.add_argument("--redactor", default="builtin", help="builtin, none, or MODULE:FUNCTION")
    parser.add_argument("--yes", action="store_true", help="spend without being asked")
    try:
        return _main(parser.parse_args(argv))
    except (ValueError, OSError, TeacherError, LedgerDown) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
