"""Parts: some rows of a run at a time, each part classified in one place and written whole or not at all.

A run that is killed leaves finished parts; run again with the same files and the same model it makes the others. Who
makes them is an engine's affair: the processes of this machine (`processes`) or a Ray cluster (`cluster`).
"""

from __future__ import annotations

import collections
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from inference.batch.records import Record, Source, records
from inference.classifier import Classifier
from inference.classify import shown, with_answer
from inference.common import jsonl
from inference.common.files import write_atomically
from inference.common.text import repair

RUN, OUTPUTS = "run.json", "outputs"


@dataclass(frozen=True)
class Run:
    """What is classified (the field `text` of every row of `sources`, `size` rows a part), and by which model.

    `home` is the folder of its parts, `outputs` are the files and URLs that it is to write, as they may be shown.
    """

    home: Path
    sources: Sequence[Source]
    text: str
    size: int
    bundle: str
    bundle_id: str
    target: float
    outputs: Sequence[str] = ()

    @property
    def said(self) -> dict[str, Any]:
        """What a run that goes on must find as it was."""
        files = [source.state for source in self.sources]
        model = {"bundle": self.bundle_id, "target": self.target}
        return {"files": files, "text": self.text, **model, "part-rows": self.size}

    def parts(self) -> Iterator[tuple[int, list[Record]]]:
        """The rows of every part in order, and its number, from 1."""
        rows = (record for one in self.sources for record in records(one, self.text))
        for number in count(1):
            if not (part := list(islice(rows, self.size))):
                return
            yield number, part


class Part(NamedTuple):
    """What comes of a part's rows: lines of JSON with their answers, and of those not accepted; the counts, as JSON."""

    answers: bytes
    deferred: bytes
    counts: bytes


Engine = Callable[[Run, Callable[[int], object]], int]
"""Makes every part of a run that is not finished, and tells of rows as they are; how many parts there are then."""


def begin(run: Run) -> None:
    """Begin a run in its folder, or go on with the one there.

    Raises ValueError if that one had other files, another model or other settings.
    """
    before = _before(run.home)
    if changed := [name for name, value in run.said.items() if before is not None and before.get(name) != value]:
        raise ValueError(
            f"{run.home} holds an unfinished run with other {' and '.join(changed)}: "
            "give what it was begun with, or remove that folder to begin anew"
        )
    named = list(dict.fromkeys([*_outputs(before), *run.outputs]))
    if before is None or named != before.get(OUTPUTS):
        said = jsonl.line({**run.said, OUTPUTS: named}, indent=1)
        write_atomically(run.home / RUN, said.encode(), private=True)


def outputs(home: Path) -> list[str]:
    """The outputs of the run in `home`, which it may have begun to write; none where there is no run."""
    return _outputs(_before(home))


def _outputs(before: dict[str, Any] | None) -> list[str]:
    return list((before or {}).get(OUTPUTS, ()))


def _before(home: Path) -> dict[str, Any] | None:
    """What the run in `home` was begun with; None where there is no run. Raises ValueError if it cannot be read."""
    said = home / RUN
    try:
        return jsonl.parse(said.read_text(encoding="utf-8")) if said.is_file() else None
    except ValueError as error:
        raise ValueError(f"{said} cannot be read: {error}") from error


def end(home: Path) -> None:
    """Remove the folder of a run, and last what says that it is one: after a kill meanwhile the run can be repeated."""
    for path in home.iterdir():
        if path.name != RUN and path.is_file():
            path.unlink()
    shutil.rmtree(home)


def begun(home: Path) -> bool:
    """Whether the folder `home` holds a run. Raises ValueError if it holds anything else: in the end it is deleted."""
    if (home / RUN).is_file():
        return True
    others = [path.name for path in home.iterdir() if not path.name.startswith(f".{RUN}.")] if home.is_dir() else []
    if others:
        raise ValueError(
            f"{home} holds {others[0]}, which is not of an unfinished run: the folder of a run is deleted in the end, "
            "so give an empty one or a new name"
        )
    return False


def answers(home: Path, number: int) -> Path:
    """Where the answers of a part are, a JSON object per line."""
    return home / f"{number:08}.jsonl"


def deferred(home: Path, number: int) -> Path:
    """Where the rows of a part are that were not accepted."""
    return home / f"{number:08}.deferred.jsonl"


def finished(home: Path, number: int) -> Path:
    """The counts of a part; it is there if the whole part is."""
    return home / f"{number:08}.json"


def made(home: Path) -> dict[int, int]:
    """The rows of every finished part, by its number."""
    files = {int(path.stem): path for path in home.glob("[0-9]*.json")}
    return {number: rows_of(path.read_bytes()) for number, path in files.items()}


def rows_of(counts: bytes) -> int:
    """The number of a part's rows."""
    return int(json.loads(counts)["rows"])


def classified(classifier: Classifier, rows: Sequence[Record]) -> Part:
    """Classify the rows of a part; those with an error keep it."""
    given = iter(classifier.predict_many([row.text for row in rows if not row.error]))
    told, left, counts = [], [], collections.Counter[str]()
    for row in rows:
        if row.error:
            told.append({**row.fields, "error": row.error})
            counts["errors"] += 1
            continue
        prediction = next(given)
        told.append(with_answer(row.fields, shown(prediction)))
        counts[prediction.source if prediction.accepted else "deferred"] += 1
        if not prediction.accepted:
            left.append({**row.fields, "text": row.text})
    columns = list(dict.fromkeys(repair(name) for values in told for name in values))  # as in the lines
    counted = {"rows": len(rows), "counts": counts, "columns": columns}
    return Part(_lines(told), _lines(left), jsonl.line(counted).encode())


def keep(home: Path, number: int, part: Part) -> None:
    """Write a part, its counts last: it is finished once they are there."""
    write_atomically(answers(home, number), part.answers, private=True)
    write_atomically(deferred(home, number), part.deferred, private=True)
    write_atomically(finished(home, number), part.counts, private=True)


def _lines(values: Iterable[dict[str, Any]]) -> bytes:
    # What JSON does not know, such as the dates of Parquet, is written as text.
    return "".join(repair(jsonl.line(one, ensure_ascii=False, default=str)) + "\n" for one in values).encode()
