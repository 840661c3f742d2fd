"""One line of JSON for each message. No text of a request is ever in one.

An exception may repeat what it was given, so of one that is logged only its type and its place in the code are shown.
"""

from __future__ import annotations

import datetime
import json
import logging
import sys
import traceback
from types import TracebackType
from typing import Any, TextIO


class JsonLines(logging.Formatter):
    """Time, level, logger, message, the fields that the caller gave as `extra={"fields": …}`, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"exception": record.exc_info[0].__name__, "at": place(record.exc_info[2])}
        return json.dumps(line)


def place(trace: TracebackType | None) -> list[str]:
    """The innermost places in the code, `file:line function`, without what stands there."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)[-5:]]


def configure(stream: TextIO | None = None) -> None:
    """Have all loggers write to `stream`, by default standard error: ours and uvicorn's from INFO on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("monoku", "uvicorn"):  # uvicorn says there that a worker has died
        logging.getLogger(name).setLevel(logging.INFO)
    logging.captureWarnings(True)
