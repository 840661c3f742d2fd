"""Cells of a simulation: each is run once, and its figures are kept in a file, so that a stopped run goes on."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Cells:
    """Finished cells in a JSON Lines file, if one is given, by their settings."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        self.done: dict[str, dict[str, Any]] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file and file.is_file() else ():
            cell = json.loads(line)
            self.done[json.dumps(cell["settings"], sort_keys=True)] = cell["figures"]

    def run(self, settings: Mapping[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The figures of one cell, from the file where it is finished already."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self.done:
            start = time.perf_counter()
            figures = work()
            self._keep(
                {"settings": dict(settings), "figures": figures, "seconds": round(time.perf_counter() - start, 1)}
            )
            self.done[key] = figures
        return self.done[key]

    def _keep(self, cell: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(cell) + "\n")


def allowed(delta: float, runs: int) -> float:
    """The share of runs that may break a promise of `delta` in one cell: three standard errors above it."""
    return delta + 3 * math.sqrt(delta * (1 - delta) / runs)
