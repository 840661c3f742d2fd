"""The books of a labelling job: every answer that was paid for, kept before it is used.

Beside the output OUT stands a folder .OUT.job with the spend ledger, whose receipts hold every answer, and the batches
under way. An answer's receipt and its charge are one transaction; the output's rows follow from the receipts, so a
kill at any moment loses none and writes none twice.
"""

from __future__ import annotations

import collections
import datetime
import io
import json
import os
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.common import jsonl
from inference.common.files import private_file, private_folder
from inference.common.locks import take_lock
from inference.money.ledger import Ledger
from inference.money.prices import Usage, dollars
from inference.teachers.teacher import Reply, Teacher
from training.data.files import format_of
from training.data.rows import PREFIX, ours
from training.labelling.queries import Query
from training.labelling.streak import Streak

TABLES = (".csv", ".tsv", ".parquet")
ASIDE = "unfinished.txt"  # the ends of outputs that were no whole rows
MOST_INVALID = 3  # answers outside the taxonomy before a query counts as refused


@dataclass(frozen=True)
class Receipt:
    """One answer: the query's id, what it said, and what it was charged."""

    query: str
    label: str | None
    refusal: str | None
    again: bool
    usage: dict[str, int]
    nano: int

    @classmethod
    def of(cls, query_id: str, reply: Reply) -> Receipt:
        return cls(query_id, reply.label, reply.refusal, reply.again, reply.usage.to_dict(), reply.nano)


class Job:
    """One output file and its books, locked for this process. Use it as a context manager. `streak` guards the run.

    Raises Busy if another process is at work on the same output, ValueError if the output cannot be read.
    """

    def __init__(self, out: Path, teacher: Teacher, votes: int = 1, cap_usd: float | None = None) -> None:
        out = out.absolute()
        self.out, self.teacher, self.votes = out, teacher, votes
        self.streak = Streak()
        self.home = out.parent / f".{out.name}.job"
        doing = f"another process is labelling into {out}; wait for it, or choose another"
        private_folder(self.home)
        self._lock = take_lock(self.home / "lock", doing)
        self.ledger = Ledger(self.home / "spend.db", cap_usd, period="ever")
        self.answers: dict[str, list[Receipt]] = collections.defaultdict(list)
        self._filed: set[str] = set()
        for name, body in self.ledger.receipts():
            values = json.loads(body)
            if (values.pop("teacher"), values.pop("prompt")) == (teacher.name, teacher.prompt_id):
                self._file(name, Receipt(**values))
        _mend(out, self.home)
        self.written = set(self.rows())
        self._file_out = out.open("a", encoding="utf-8")

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self._file_out.flush()
        os.fsync(self._file_out.fileno())
        self._file_out.close()
        self.ledger.close()
        self._lock.lock.release()

    def _file(self, name: str, receipt: Receipt) -> None:
        if name not in self._filed:  # the results of a batch may be read twice
            self._filed.add(name)
            self.answers[receipt.query].append(receipt)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The output's rows from this teacher and prompt, by query id. Raises ValueError if a line is invalid."""
        question = (self.teacher.name, self.teacher.prompt_id)
        rows = (row for _, row in jsonl.read(self.out) if (ours(row, "labeler"), ours(row, "prompt_id")) == question)
        return {str(ours(row, "query")): row for row in rows if ours(row, "query")}

    def open(self, queries: Iterable[Query]) -> list[Query]:
        """The queries that still need an answer; rows of those that need none are written if they are not yet."""
        return [query for query in queries if query.id not in self.written and not self.write(query)]

    def settle(self, reservation: str, receipts: Sequence[tuple[str, Receipt]]) -> None:
        """Keep answers, each with an id of its own, and what they were charged, in one transaction."""
        question = {"teacher": self.teacher.name, "prompt": self.teacher.prompt_id}
        bodies = [(name, json.dumps({**asdict(receipt), **question})) for name, receipt in receipts]
        self.ledger.settle(reservation, sum(receipt.nano for _, receipt in receipts), bodies)
        for name, receipt in receipts:
            self._file(name, receipt)

    def keep(self, reservation: str, query: Query, reply: Reply) -> None:
        """Keep one answer, and write its row if that was the last one needed."""
        self.settle(reservation, [(uuid.uuid4().hex, Receipt.of(query.id, reply))])
        self.write(query)

    def needs(self, query: Query) -> int:
        """How many more answers a query needs: a vote that was declined is not asked for again, nor is any other where
        that was all that was said.
        """
        labels, declined, invalid = self._votes(query)
        hopeless = self.votes - declined < self._least or (declined and not labels)
        if invalid >= MOST_INVALID or hopeless:
            return 0
        return max(0, self.votes - declined - labels)

    @property
    def _least(self) -> int:
        """Votes without which a query has no label: more than half of those that it was to get."""
        return self.votes // 2 + 1

    def _votes(self, query: Query) -> tuple[int, int, int]:
        """How many answers named an intent, how many were declined, and how many named none for another reason."""
        got = self.answers[query.id]
        labels = sum(receipt.label is not None for receipt in got)
        declined = sum(receipt.label is None and not receipt.again for receipt in got)
        return labels, declined, len(got) - labels - declined

    def most(self, query: Query) -> int:
        """How many more answers a query can need at most, where some of them name no intent."""
        needed, (_, _, invalid) = self.needs(query), self._votes(query)
        return needed + MOST_INVALID - 1 - invalid if needed else 0

    def refusal(self, query: Query) -> str | None:
        """Why a query with all its answers has no label; None if it has one."""
        if self._votes(query)[0] >= self._least:
            return None
        return next(receipt.refusal for receipt in reversed(self.answers[query.id]) if receipt.label is None)

    def labelled(self, query: Query) -> bool:
        """Whether a query has a label."""
        return not self.needs(query) and self.refusal(query) is None

    def write(self, query: Query) -> bool:
        """Append the row of a query that has all its answers; False if it has not."""
        if self.needs(query):
            return False
        self._file_out.write(json.dumps(self._row(query), ensure_ascii=False) + "\n")
        self._file_out.flush()
        self.written.add(query.id)
        return True

    def _row(self, query: Query) -> dict[str, Any]:
        got = self.answers[query.id]
        votes = collections.Counter(receipt.label for receipt in got if receipt.label is not None)
        refusal = self.refusal(query)
        said: dict[str, Any] = {"query": query.id}
        if refusal is not None:
            said["refusal"] = refusal
        elif self.votes > 1:
            said["shares"] = {label: count / votes.total() for label, count in sorted(votes.items())}
        if query.opinion > 1:
            said["opinion"] = query.opinion
        usage = sum((Usage.from_dict(receipt.usage) for receipt in got), Usage())
        said |= {
            "labeler": self.teacher.name,
            "prompt_id": self.teacher.prompt_id,
            "usage": usage.to_dict(),
            "cost_usd": dollars(sum(receipt.nano for receipt in got)),
            "time": datetime.datetime.fromtimestamp(time.time(), datetime.UTC).isoformat(timespec="seconds"),
        }
        label = votes.most_common(1)[0][0] if refusal is None else None
        return {**query.fields, "text": query.text, "label": label, **{PREFIX + name: said[name] for name in said}}


def _mend(out: Path, home: Path) -> None:
    """End the last line. Half a row, as a kill may have left it, is put aside: its receipt writes it again.

    Raises ValueError, and leaves the file as it is, where it holds something else than rows.
    """
    if format_of(out) in TABLES and not out.exists():
        raise ValueError(f"--out {out}: rows are written as lines of JSON; let the name end in .jsonl")
    private_file(out)
    with out.open("rb+") as file:
        content = file.read()
        start = content.rfind(b"\n") + 1
        last = content[start:]
        if not last.strip():
            return
        try:
            jsonl.parse(jsonl.decode(last))
            file.write(b"\n")
        except ValueError:
            _check_half(out, content[:start], last)
            private_file(home / ASIDE)
            with (home / ASIDE).open("ab") as aside:
                aside.write(last + b"\n")
            file.truncate(start)


def _check_half(out: Path, before: bytes, last: bytes) -> None:
    """Raise ValueError unless the last line of a file can be half of one of our rows, and those before it are rows."""
    half = last.strip(b"\x00")  # a crash may leave zeros where a row was to stand
    if half and not half.startswith(b"{"):
        raise ValueError(f"--out {out} holds something else than lines of JSON: give another file")
    collections.deque(jsonl.objects(out, io.BytesIO(before)), maxlen=0)
