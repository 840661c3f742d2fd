"""Map labelled data onto another taxonomy without losing a label."""

from __future__ import annotations

import argparse
import collections
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.bundle.manifest import TAXONOMY
from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common.files import write_atomically
from inference.common.text import canonical
from inference.teachers.registry import open_teacher
from training.data.dataset import Dataset
from training.data.kept import SPLITS_FILE
from training.data.looks import LOOKS_FILE
from training.data.rows import PREFIX, Row, ours, text_key, to_record
from training.labelling.labeller import Options, answers_for, consent
from training.lifecycle.questions import NOTES

WAS = PREFIX + "was"  # the field of a changed row that holds its label of before


@dataclass(frozen=True)
class Change:
    """What lies between two taxonomies: old intent → new one, and the intents that no old one maps to."""

    mapping: Mapping[str, str]
    added: tuple[str, ...]

    @classmethod
    def between(cls, old: Taxonomy, new: Taxonomy, given: Mapping[str, str]) -> Change:
        """Raises ValueError if an old intent is gone and not mapped, or a mapping names an unknown intent."""
        given = {canonical(name): canonical(target) for name, target in given.items()}
        for name, target in given.items():
            if name not in old.names or target not in new.names:
                raise ValueError(f"--map {name}={target}: {name!r} must be an old intent and {target!r} a new one")
        mapping = {name: given.get(name, name) for name in old.names}
        gone = sorted(name for name, target in mapping.items() if target not in new.names)
        if gone:
            where = f"--map {gone[0]}=NEW"
            raise ValueError(f"{', '.join(gone)} would lose its labels: map it to a new intent with {where}")
        return cls(mapping, tuple(name for name in new.names if name not in mapping.values()))


def changed(data: Dataset, change: Change, answers: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows under the new taxonomy, as records. `answers` are the teacher's rows by query key."""
    return [_changed(row, change, answers.get(text_key(row.text))) for row in data.rows]


def _changed(row: Row, change: Change, answer: dict[str, Any] | None) -> dict[str, Any]:
    record = {**to_record(row), "label": change.mapping[row.label]}
    if row.gold is not None:
        record[PREFIX + "gold"] = change.mapping.get(row.gold, row.gold)
    if row.shares is not None:
        shares: collections.Counter[str] = collections.Counter()
        for name, share in row.shares.items():
            shares[change.mapping[name]] += share  # type: ignore[assignment]
        record[PREFIX + "shares"] = dict(shares)
    if answer is not None and answer["label"] in change.added:
        said = {PREFIX + name: ours(answer, name) for name in ("labeler", "prompt_id")}
        record |= {"label": answer["label"], **said}
        record.pop(PREFIX + "shares", None)
    if record["label"] != row.label:
        record[WAS] = row.label
    return record


def to_ask(data: Dataset, change: Change, among: Sequence[str]) -> list[Row]:
    """The rows that may be of a new intent: those labelled with one of `among`, or all.

    Raises ValueError if one of `among` is unknown.
    """
    for name in among:
        if name not in data.taxonomy.names:
            raise ValueError(f"--among {name}: expected an old intent ({', '.join(data.taxonomy.names)})")
    return [row for row in data.rows if change.added and (not among or row.label in among)]


def ask_teacher(rows: Sequence[Row], arguments: argparse.Namespace, taxonomy: Taxonomy) -> dict[str, dict[str, Any]]:
    """The teacher's answers for `rows`, through training.label: priced, capped, resumable."""
    redact = load_redactor(arguments.redactor)
    texts = {text_key(row.text): redact(row.text) for row in rows}
    options = Options(arguments.mode, confirm=consent(arguments.yes))
    teacher = open_teacher(arguments.teacher, taxonomy)
    found = answers_for(texts, teacher, arguments.out / ".relabelled.jsonl", arguments.max_usd, options)
    if found.failed:
        reason = next(iter(found.failed.values()))
        raise ValueError(f"{len(found.failed)} rows have no answer ({reason}); run the same command again to go on")
    return found.rows


def check_new_data(data: Path, out: Path) -> None:
    """Raise ValueError where writing to the folder `out` would overwrite the data, or mix with another's."""
    home = data if data.is_dir() else data.parent
    if out.exists() and home.exists() and out.samefile(home):
        raise ValueError(f"--out {out} is the folder of the data itself: give another folder")
    # Its own output may be written again, with what training left beside it.
    ours = {"queries.jsonl", TAXONOMY, NOTES, SPLITS_FILE, LOOKS_FILE} if (out / NOTES).is_file() else set()
    others = sorted(path.name for path in out.glob("[!.]*") if path.name not in ours)
    if others:
        raise ValueError(f"--out {out} has files of something else ({', '.join(others[:5])}): give a new folder")


def write(arguments: argparse.Namespace, taxonomy: Taxonomy, records: Sequence[dict[str, Any]], note: Any) -> None:
    """Write the changed rows, the taxonomy, splits and looks as they were, and a note of the change."""
    # The notes come first: they show a run after a kill that the folder is its own.
    notes = arguments.data / NOTES
    before = notes.read_bytes() if notes.is_file() else b""
    write_atomically(arguments.out / NOTES, before + json.dumps(note).encode() + b"\n")
    text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    write_atomically(arguments.out / "queries.jsonl", text.encode(), private=True)
    write_atomically(arguments.out / TAXONOMY, taxonomy.to_toml().encode())
    for name in (SPLITS_FILE, LOOKS_FILE):
        if (arguments.data / name).is_file():
            shutil.copy(arguments.data / name, arguments.out / name)
