"""Live rows under a changed taxonomy. A label answers a question: the intents' names, meanings, examples and ties.

`python -m training.change` leaves a note of each change beside the data (changes.jsonl). A row of another question is
unknown until the notes lead from its question to today's. Then a renamed or dropped intent is mapped, and a row that
may be of a new intent is asked about again: a text that trains keeps its mapped label until then, as base rows do; a
request of the sample has no answer until then, for it is compared with what the teacher says under today's question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.common import jsonl
from training.lifecycle.live import SHARES, UNANSWERED, LiveRow

NOTES = "changes.jsonl"


@dataclass(frozen=True)
class Step:
    """One change of the question: old intent → new one, the new intents, and the old ones that they can come from."""

    before: str
    after: str
    mapping: Mapping[str, str]
    added: tuple[str, ...] = ()
    among: tuple[str, ...] = ()

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Step | None:
        """The step of a line of changes.jsonl; None for one of before 0.3.0, which names no question."""
        if not note.get("from_question") or not note.get("to_question"):
            return None
        added, among = note.get("added") or (), note.get("among") or ()
        return cls(note["from_question"], note["to_question"], dict(note["mapping"]), tuple(added), tuple(among))

    def asks(self, label: str) -> bool:
        """Whether a row of this old label may be of a new intent."""
        return bool(self.added) and (not self.among or label in self.among)


@dataclass(frozen=True)
class Followed:
    """The rows under today's question; by identity, texts that may be of a new intent; how many rows were mapped."""

    rows: list[LiveRow]
    ask: dict[str, str] = field(default_factory=dict)
    mapped: int = 0


def read_steps(data: str) -> list[Step]:
    """The changes noted beside the data, oldest first. Raises ValueError, naming the line, if one is damaged."""
    path = Path(data) / NOTES
    if not path.is_file():
        return []
    steps = (Step.of(note) for _, note in jsonl.read(path))
    return [step for step in steps if step is not None]


def way(steps: Sequence[Step], before: str, after: str) -> list[Step]:
    """The steps that lead from one question to another; none where they do not, or there is nothing to do."""
    found: list[Step] = []
    for step in reversed(steps):
        if step.after == (found[0].before if found else after):
            found.insert(0, step)
            if step.before == before:
                return found
    return []


def follow(rows: Iterable[LiveRow], steps: Sequence[Step], question: str, first: str) -> Followed:
    """Bring the rows of earlier questions under `question`. Rows that name none, from before 0.3.0, are of `first`."""
    found, ask, mapped = [], {}, 0
    for row in rows:
        row = row if row.question else replace(row, question=first)
        path = way(steps, row.question, question)
        if path:
            row, asked = _along(row, path, question)
            mapped += 1
            if asked and not row.human:
                ask[row.identity] = row.text
        found.append(row)
    return Followed(found, ask, mapped)


def _along(row: LiveRow, path: Sequence[Step], question: str) -> tuple[LiveRow, bool]:
    label, shares, asked = row.label, row.shares, False
    for step in path:
        asked = asked or step.asks(label)
        label = step.mapping.get(label, label)
        shares = _mapped(shares, step.mapping) if shares else None
    row = replace(row, label=label, shares=shares, question=question)
    if row.request:  # it was given under another prompt, for the prompt names the intents, and stays a judge
        row = replace(row, prompt_id="")
    if asked and row.request and row.split in SHARES:
        row = replace(row, label="", why=UNANSWERED)
    return row, asked and row.split in (*SHARES, "train")


def _mapped(shares: Mapping[str, float], mapping: Mapping[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, share in shares.items():
        target = mapping.get(name, name)
        found[target] = found.get(target, 0.0) + share
    return found


def renamed(steps: Sequence[Step], before: str, after: str) -> dict[str, str]:
    """The intents' names of an earlier question, by what they are called now."""
    names: dict[str, str] = {}
    for step in way(steps, before, after):
        names = {name: step.mapping.get(target, target) for name, target in names.items()} | {
            name: target for name, target in step.mapping.items() if name not in names.values()
        }
    return names
