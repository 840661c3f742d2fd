"""Forgetting a text in all that is kept of a model: log, spill files, Redis, live rows, labels and composed data.

Counts stay: a live row becomes a mark without text, which neither trains nor judges and is not harvested again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from inference.cache.shared import forget_shared
from inference.common.errors import MonokuError
from inference.common.files import drop_lines, write_atomically
from inference.common.locks import take_lock
from inference.common.places import database, spill_folder
from inference.common.sqlite import scrub
from inference.common.text import Forgotten
from inference.log.decision_log import DecisionLog
from training.data.files import format_of
from training.data.records import records
from training.data.rows import named, text_key
from training.data.source import data_files
from training.lifecycle.live import FORGOTTEN, LiveRow, read_live, write_live


@dataclass(frozen=True)
class Places:
    """Where to look: a model's folder, its log ("": the one in the folder), more outputs of training.label, Redis.

    `spill` is the folder of rows that wait for the log; None: the one with the model.
    """

    home: Path
    log: str = ""
    labelled: Sequence[Path] = ()
    redis: str = ""
    spill: Path | None = None


@dataclass
class Found:
    """Rows that went, by place, and what went wrong in others: they are to be tried again."""

    gone: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def forget(places: Places, forgotten: Forgotten) -> Found:
    """Delete a text from every place. Doing it again changes nothing more.

    Raises Busy if a refresh is at work, ValueError if a given place does not exist.
    """
    steps = list(_steps(places, forgotten))
    found = Found()
    with take_lock(places.home / ".refresh.lock", f"a refresh of {places.home} is at work"):
        for place, step in steps:
            try:
                found.gone[place] = step()
            except (MonokuError, OSError, ValueError, sqlite3.Error) as error:
                found.errors.append(f"{place}: {error}")
    return found


def standing_in(data: Path, forgotten: Forgotten) -> list[str]:
    """Where base data, which is only read, holds the text: "file:line". Raises ValueError if it cannot be read."""
    if not data.exists():
        raise ValueError(f"no such file or folder: {data}")
    known, others = data_files(data) if data.is_dir() else ([data], [])
    # Whatever else is called .json in a folder of data is seldom rows.
    files = [*known, *(file for file in others if format_of(file) != ".json")]
    found = ((place, named(values, place)) for file in files for place, values in records(file))
    return [place for place, values in found if forgotten.as_typed(str(values.get("text", "")))]


def _steps(places: Places, forgotten: Forgotten) -> Iterator[tuple[str, Callable[[], int]]]:
    home, spill = places.home, spill_folder(places.spill, places.home)
    if not home.is_dir():
        raise ValueError(f"there is no model at {home}: give --name and --models")
    place = database(places.log or home / "decisions.db", "the decision log")
    if place.file is None or place.file.is_file() or spill.is_dir():
        yield (
            f"{place.name} and {spill}",
            lambda: _in_log(places.log or home / "decisions.db", spill, forgotten),
        )
    elif places.log:
        raise ValueError(f"there is no decision log at {place.name}")
    if places.redis:
        yield "Redis", lambda: forget_shared(places.redis, forgotten.texts)
    for out in (home / "labelled.jsonl", *places.labelled):
        if out in places.labelled and not out.is_file():
            raise ValueError(f"no such file: {out}")
        yield str(out), functools.partial(_in_labels, out, forgotten, home)
    # After the labels, some of which are found by its rows.
    yield str(home / "live.jsonl"), lambda: _in_live(home, forgotten)
    for path in sorted((home / ".refresh" / "data").glob("*.jsonl")):
        yield str(path), functools.partial(drop_lines, path, forgotten.in_line)


def _in_log(url: str | Path, spill: Path, forgotten: Forgotten) -> int:
    with contextlib.closing(DecisionLog(url, spill=spill)) as log:
        return sum(log.forget(forgotten).values())


def _in_live(home: Path, forgotten: Forgotten) -> int:
    rows = read_live(home)
    kept = [_marked(row) if row.split != FORGOTTEN and forgotten.as_typed(row.text) else row for row in rows]
    count = sum(new is not old for new, old in zip(kept, rows, strict=True))
    if count:
        write_live(home, kept)
    return count


def _marked(row: LiveRow) -> LiveRow:
    return replace(row, text="", label="", labeler="", prompt_id="", split=FORGOTTEN, shares=None)


def _in_labels(out: Path, forgotten: Forgotten, home: Path) -> int:
    """In an output of training.label and the books beside it: what was paid stays counted."""
    if not out.is_file():
        return 0
    job = out.parent / f".{out.name}.job"
    lock = take_lock(job / "lock", f"another process is labelling into {out}") if job.is_dir() else None
    with lock or contextlib.nullcontext():
        if lock:
            requests = {row.request for row in read_live(home) if row.request and forgotten.as_typed(row.text)}
            _in_books(job, requests | {text_key(text) for text in forgotten.texts})
        return drop_lines(out, forgotten.in_line)


def _in_books(job: Path, keys: set[str]) -> None:
    """Books know queries by key or request alone, but a refusal or an error may quote one."""
    failed = job / "failed.json"
    if failed.is_file():
        reasons = json.loads(failed.read_text())
        kept = {query: reason for query, reason in reasons.items() if query.partition(":")[0] not in keys}
        if len(kept) < len(reasons):
            write_atomically(failed, json.dumps(kept, ensure_ascii=False, indent=1).encode())
    if not (job / "spend.db").is_file():
        return
    with contextlib.closing(sqlite3.connect(job / "spend.db", isolation_level=None)) as books:
        for name, body in books.execute("SELECT id, body FROM receipts").fetchall():
            receipt = json.loads(body)
            if receipt["query"].partition(":")[0] in keys and receipt["refusal"]:
                quiet = json.dumps({**receipt, "refusal": FORGOTTEN})
                books.execute("UPDATE receipts SET body = ? WHERE id = ?", (quiet, name))
        scrub(books)  # whoever labels would hold the job's lock
