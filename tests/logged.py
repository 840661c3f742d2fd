"""Rows for tests of the decision log, and ways to get in its way."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from inference.log.decision_log import Correction, Decision, TeacherAnswer
from inference.log.rows import TrialAnswer

HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def decision(name: str, **values: Any) -> Decision:
    defaults: dict[str, Any] = {
        "time": time.time(),
        "text": f"text of {name}",
        "intent": "payments",
        "confidence": 0.9,
        "accepted": True,
        "source": "student",
        "cached": False,
        "deferred": False,
        "sampled": False,
        "bundle_id": "b1",
        "latency_ms": 1.5,
    }
    return Decision(name, **{**defaults, **values})


def answer(name: str, **values: Any) -> TeacherAnswer:
    defaults: dict[str, Any] = {
        "time": time.time(),
        "text": f"text of {name}",
        "teacher": "anthropic:claude-haiku-5-5",
        "prompt_id": "prompt-1",
        "label": "payments",
        "refusal": None,
        "usage": {"input_tokens": 900, "output_tokens": 9},
        "cost_usd": 0.0001,
        "latency_ms": 700.0,
        "sampled": False,
    }
    return TeacherAnswer(name, **{**defaults, **values})


def correction(name: str, **values: Any) -> Correction:
    return Correction(name, **{"time": time.time(), "text": f"text of {name}", "intent": "account", **values})


ANY_TEXT = st.text(max_size=40) | st.text(st.characters(), max_size=20)
NAMES = st.none() | ANY_TEXT
NUMBERS = st.floats(0, 1e12)
ANY_NUMBER = st.none() | st.floats()
ROWS = st.one_of(
    st.builds(
        Decision, ANY_TEXT, NUMBERS, ANY_TEXT, NAMES, ANY_NUMBER, st.booleans(), ANY_TEXT, st.booleans(), st.booleans(),
        st.booleans(), NAMES, ANY_NUMBER, NAMES, NAMES, ANY_NUMBER, ANY_NUMBER, ANY_TEXT, ANY_TEXT, ANY_TEXT,
    ),
    st.builds(
        TeacherAnswer, ANY_TEXT, NUMBERS, ANY_TEXT, ANY_TEXT, ANY_TEXT, NAMES, NAMES,
        st.dictionaries(ANY_TEXT, st.integers(0, 2**60), max_size=3), NUMBERS, ANY_NUMBER, st.booleans(),
        ANY_TEXT,
    ),
    st.builds(Correction, ANY_TEXT, NUMBERS, ANY_TEXT, ANY_TEXT, ANY_TEXT),
    st.builds(
        TrialAnswer, ANY_TEXT, NUMBERS, ANY_TEXT, ANY_TEXT, NAMES, ANY_NUMBER, st.booleans(), ANY_TEXT, NUMBERS,
    ),
)  # fmt: skip


def wait_until(condition: Callable[[], Any], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the file's write lock."""
    command = [sys.executable, "-S", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            holder.communicate("")


def check_integrity(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
