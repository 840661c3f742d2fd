"""What a round asks a teacher: requests of the sample that have no answer, and texts that would train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import dollars
from inference.teachers.registry import open_teacher
from training.data.rows import ours
from training.labelling.labeller import answers_for
from training.lifecycle.live import DROPPED, REFUSED, SHARES, UNANSWERED, LiveRow


@dataclass(frozen=True)
class Wanted:
    """Texts by the id under which they are asked: each request of the sample for itself, other texts once."""

    requests: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.requests) + len(self.texts)


def asked_as(row: LiveRow) -> str:
    """The id under which a row's text is asked: another one where an earlier answer must not come back."""
    again = row.split == DROPPED or (row.why == UNANSWERED and row.labeler)
    return f"{row.identity}:{row.round}:{row.question[:8]}" if again else row.identity


def unanswered(rows: Sequence[LiveRow], question: str) -> list[LiveRow]:
    """The requests of the sample that nobody answered, the newest first: where money ends, whole hours stay."""
    holes = [row for row in rows if row.why == UNANSWERED and row.split in SHARES and row.question == question]
    return sorted(holes, key=lambda row: -row.time)


@dataclass
class Asked:
    """Answers by the id under which they were asked, why others have none, and what they cost."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    usd: float = 0.0


def ask(wanted: Wanted, teacher: str, taxonomy: Taxonomy, out: Path, cap_usd: float | None, kept: float) -> Asked:
    """Have a teacher answer, requests of the sample first; other texts may use all of the cap but the share `kept`.

    Resumable, capped, each paid for once (see training.label).
    """
    found = Asked()
    part = None if cap_usd is None else cap_usd * (1 - kept)
    for texts, cap in ((wanted.requests, cap_usd), (wanted.texts, part)):
        if texts and teacher:
            got = answers_for(texts, open_teacher(teacher, taxonomy), out, cap)
            found.answers |= got.rows
            found.failed += got.failed.values()
            found.usd += dollars(got.nano)
    return found


def price(wanted: Wanted, teacher: str, taxonomy: Taxonomy) -> float:
    """What the answers cost at most, in dollars; 0 without a teacher."""
    if not len(wanted) or not teacher:
        return 0.0
    asked = open_teacher(teacher, taxonomy)
    return dollars(sum(asked.worst_case(text) for texts in (wanted.requests, wanted.texts) for text in texts.values()))


def answered(row: LiveRow, answer: Mapping[str, Any], number: int, question: str) -> LiveRow:
    """A row with its answer of round `number`; a request that was refused stays in the sample, as an error."""
    label = answer["label"]
    return replace(
        row,
        label=label or "",
        why="" if label is not None else REFUSED if row.request else UNANSWERED,
        labeler=ours(answer, "labeler"),
        prompt_id=ours(answer, "prompt_id"),
        round=number,
        question=question,
        shares=None,
    )
