"""Several workers, one set of figures: each writes its own into a folder, and any of them answers for all.

Whichever worker gets GET /metrics would otherwise show a share of the requests, and another share the next time.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.common.workers import Worker
from inference.service.figures import Figures, combine

EVERY_S = 1.0
SILENT_S = 15.0  # a worker that has not written for so long has ended


class Crew:
    """Writes the figures of `read` into `folder` every `every_s` seconds, from `start` to `stop`, and at its end."""

    def __init__(self, folder: Path, read: Callable[[], Figures], every_s: float = EVERY_S) -> None:
        self._folder, self._read, self._every_s = folder, read, every_s
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex}.json"
        self._lock = threading.Lock()
        self._worker = Worker("monoku-figures", self._step)

    def start(self) -> None:
        """Have the figures written by a thread."""
        self._worker.start()

    def stop(self) -> None:
        """Write them for the last time. What was counted stays known to the others."""
        self._worker.stop(self._every_s + 5)
        self._write(ended=True)

    def figures(self) -> Figures:
        """Those of all workers: this one's as they are now, the others' at most `every_s` seconds old."""
        living: list[Figures] = [self._read()]
        ended: list[Figures] = []
        for path in self._folder.glob("*.json"):
            if path != self._path:
                found = json.loads(path.read_text(encoding="utf-8"))
                silent = found["ended"] or time.time() - found["time"] > SILENT_S
                (ended if silent else living).append(_from_json(found["figures"]))
        return combine(living, ended)

    def _step(self) -> float:
        self._write()
        return self._every_s

    def _write(self, ended: bool = False) -> None:
        with self._lock:
            found = {"time": time.time(), "ended": ended, "figures": _to_json(self._read())}
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(found), encoding="utf-8")
            part.replace(self._path)


def _to_json(found: Figures) -> dict[str, Any]:
    return {name: [[list(labels), value] for labels, value in values.items()] for name, values in found.items()}


def _from_json(found: dict[str, Any]) -> Figures:
    return {name: {tuple(labels): value for labels, value in values} for name, values in found.items()}
