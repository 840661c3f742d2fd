"""Looks at a set of calibration rows: each spends a part of delta, and is counted before it is taken.

Whoever trains again and again on the same calibration rows, whatever it is called and wherever it is kept, would sooner
or later pass a test by luck. So a look is written down beside the splits before the rows are scored: a run that fails
afterwards has counted. Asking again for the same model is no new look.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from inference.common.files import write_atomically
from inference.common.locks import Busy

LOOKS_FILE = "looks.json"
LOCK_S = 30.0
ROUNDING = 1e-9


@dataclass(frozen=True)
class Look:
    """One look: its number, 1 for the first, and the delta that it may spend."""

    number: int
    delta: float


@dataclass(frozen=True)
class Part:
    """A share of a look's delta: of look `of`, if so much of that is left, else of a new one."""

    share: float = 1.0
    of: int = 0


WHOLE = Part()


class Looks(Protocol):
    """Where looks are counted."""

    def spend(self, delta: float, model: str) -> Look:
        """Write a look of the model with this id down, and return it; the same one again for the same id.

        `delta` is what all looks together may spend.
        """
        ...


def look_delta(delta: float, number: int) -> float:
    """What look `number` (1, 2, …) may spend: 6·delta / (π²·number²), which adds up to delta for ever.

    Raises ValueError if `number` is below 1.
    """
    if number < 1:
        raise ValueError(f"looks count from 1, got {number}")
    return 6 * delta / (math.pi**2 * number**2)


def _left(looks: Sequence[Mapping[str, Any]], number: int, delta: float) -> float:
    """The share of look `number` that no model has spent; none where no model has had a part of it."""
    spent = sum(one["delta"] for one in looks if one["number"] == number)
    return 1 - spent / look_delta(delta, number) if spent else 0.0


class BaseLooks:
    """The looks at base data's calibration rows, in a file beside their splits.

    `after` is the highest number that was used before there was such a file: counting goes on from there.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        self.path, self.after = folder / LOOKS_FILE, after

    def spend(self, delta: float, model: str, part: Part = WHOLE) -> Look:
        """Write a look of this model down and fsync it, or find the one that it has. `part` is what it may spend.

        Raises ValueError if the file is damaged, Busy if another process keeps it for half a minute.
        """
        with self._locked():
            found = self._read()
            for one in found["looks"]:
                if one["model"] == model:
                    return Look(one["number"], one["delta"])
            number = 1 + max([found["after"], *(one["number"] for one in found["looks"])])
            if _left(found["looks"], part.of, delta) >= part.share * (1 - ROUNDING):
                number = part.of
            look = Look(number, part.share * look_delta(delta, number))
            entry = {"number": look.number, "delta": look.delta, "model": model, "time": time.time()}
            self._write({**found, "looks": [*found["looks"], entry]})
            return look

    def restart(self) -> None:
        """Begin at 1, for splits that nobody has looked at."""
        with self._locked():
            self._write({"after": 0, "looks": []})

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file: models of several names may share one set of calibration rows."""
        from filelock import FileLock, Timeout

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_name(f".{LOOKS_FILE}.lock"), timeout=LOCK_S)
        try:
            lock.acquire()
        except Timeout as error:
            raise Busy(f"another process holds {self.path}") from error
        try:
            yield
        finally:
            lock.release()

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {"after": self.after, "looks": []}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            kinds = {"number": int, "delta": float, "model": str}
            looks = [{**one, **{name: kind(one[name]) for name, kind in kinds.items()}} for one in found["looks"]]
            return {"after": int(found["after"]), "looks": looks}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.path} is damaged ({error!r}); restore it from a backup: without it looks would count anew"
            ) from error

    def _write(self, values: dict[str, Any]) -> None:
        write_atomically(self.path, json.dumps(values, indent=1).encode() + b"\n")
