"""Parts: some rows of a run at a time, each part classified by one process and written whole or not at all.

A run that is killed leaves finished parts; run again with the same files and the same model it makes the others.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any

from inference.batch.records import Record
from inference.classifier import Classifier
from inference.classify import shown, with_answer
from inference.common import jsonl
from inference.common.files import write_atomically
from inference.common.text import repair

RUN = "run.json"
AHEAD = 2  # parts per process that wait, so that none is idle
_held: list[Classifier] = []  # a worker process's own


def described(home: Path, run: dict[str, Any]) -> None:
    """Begin a run in the folder `home`, or go on with the one there.

    Raises ValueError if that one had other files, another model or other settings.
    """
    said = home / RUN
    if not said.is_file():
        write_atomically(said, jsonl.line(run, indent=1).encode(), private=True)
        return
    try:
        before = jsonl.parse(said.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{said} cannot be read: {error}") from error
    if changed := [name for name in run if before.get(name) != run[name]]:
        raise ValueError(
            f"{home} holds an unfinished run with other {' and '.join(changed)}: "
            "give what it was begun with, or remove that folder to begin anew"
        )


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


def classify(
    home: Path, found: Iterable[list[Record]], bundle: str, target: float, workers: int, done: Callable[[int], object]
) -> int:
    """Write every part of the records `found` that is not finished; how many parts there are then.

    `done` is told of rows as they are finished. Raises ChildProcessError if a worker process dies.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy whatever threads there are
    count, waiting = 0, set[Future[int]]()
    try:
        with ProcessPoolExecutor(workers, context, _begin, (bundle, target)) as pool:
            for count, rows in enumerate(found, 1):
                if finished(home, count).is_file():
                    done(len(rows))
                    continue
                waiting.add(pool.submit(_write, home, count, rows))
                if len(waiting) >= AHEAD * workers:
                    ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    _tell(ready, done)
            _tell(waiting, done)
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, perhaps for its memory: run the same command again to go on"
        ) from error
    return count


def _tell(ready: Iterable[Future[int]], done: Callable[[int], object]) -> None:
    for future in ready:
        done(future.result())


def cut(found: Iterable[Record], size: int) -> Iterator[list[Record]]:
    """The records `size` at a time."""
    rows = iter(found)
    while part := list(islice(rows, size)):
        yield part


def answers(home: Path, number: int) -> Path:
    """Where the answers of a part are, a JSON object per line."""
    return home / f"{number:08}.jsonl"


def deferred(home: Path, number: int) -> Path:
    """Where the rows of a part are that were not accepted."""
    return home / f"{number:08}.deferred.jsonl"


def finished(home: Path, number: int) -> Path:
    """The counts of a part; it is there if the whole part is."""
    return home / f"{number:08}.json"


def _begin(bundle: str, target: float) -> None:
    """Open the model in a worker process, which ends when the process that started it does, however it ends."""
    parent = multiprocessing.parent_process()

    def leave() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=leave, daemon=True).start()
    _held[:] = [Classifier.load(bundle, target)]


def _write(home: Path, number: int, rows: Sequence[Record]) -> int:
    given = iter(_held[0].predict_many([row.text for row in rows if not row.error]))
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
    write_atomically(answers(home, number), _lines(told), private=True)
    write_atomically(deferred(home, number), _lines(left), private=True)
    columns = list(dict.fromkeys(name for values in told for name in values))
    counted = {"rows": len(rows), "counts": counts, "columns": columns}
    write_atomically(finished(home, number), jsonl.line(counted).encode(), private=True)
    return len(rows)


def _lines(values: Iterable[dict[str, Any]]) -> bytes:
    # What JSON does not know, such as the dates of Parquet, is written as text.
    return "".join(repair(jsonl.line(one, ensure_ascii=False, default=str)) + "\n" for one in values).encode()
