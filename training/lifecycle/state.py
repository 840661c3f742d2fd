"""What a round finds: where the last one ended, and the decision log."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.common.places import database
from inference.log.decision_log import DecisionLog
from inference.log.suspension import suspensions

FILE = "refresh.json"
RECENT_REQUESTS = 500  # that calibrate, so that a bundle ends an alarm of before them


def read_state(home: Path) -> dict[str, Any]:
    """What the last round left; empty before the first one. Raises ValueError if the file is damaged."""
    path = home / FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to read the whole log again") from error


def read_before(state: dict[str, Any], now: float, notes: list[str]) -> float:
    """Up to when the log was read; 0, with a note, where that lies in the future: what lies between is unknown."""
    until = float(state.get("until", 0.0))
    if until <= now:
        return until
    shown = _shown(until)
    notes.append(f"the last round read the log up to {shown}, in the future: a clock was wrong; the whole log is read")
    return 0.0


def open_log(given: str, home: Path, notes: list[str]) -> DecisionLog | None:
    """The decision log, by default the one with the model; None, with a note, where there is none yet."""
    place = database(given or home / "decisions.db", "the decision log")
    if place.file is None or place.file.is_file():
        return DecisionLog(place.url)
    notes.append(f"there is no decision log yet at {place.name}")
    return None


def recent_since(times: Sequence[float]) -> float:
    """Since when enough requests calibrate to judge anew, of those at `times`; 0 where there are not enough at all."""
    return sorted(times)[-RECENT_REQUESTS] if len(times) >= RECENT_REQUESTS else 0.0


def told_of(log: DecisionLog, now: float, question: str) -> list[str]:
    """What is said of a promise that is suspended, with what ends it; nothing where none is."""
    return [
        f"the promise of {found['target']:g} is suspended since {_shown(found['since'])}: this round goes first; "
        f"a bundle with {RECENT_REQUESTS} calibrating requests of after that ends it"
        for found in suspensions(log, now)
        if question.startswith(found["question"])
    ]


def _shown(seconds: float) -> str:
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M} UTC"
