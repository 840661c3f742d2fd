"""A model with a past for the page: three versions, one of them rejected, and two weeks in its log."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from inference.bundle.manifest import Bundle, resolve
from inference.bundle.versions import REJECTED
from inference.service.page.simulated import simulate
from tests.served import Served, served

OLD, BAD = "20200101T000000Z-00000000", "20200102T000000Z-00000000"


def with_history(model: Path, folder: Path, reason: str, per_day: int) -> Path:
    """A copy of the model in `folder`; BAD was rejected for `reason`."""
    home = Path(shutil.copytree(model, folder / "tiny"))
    for name in (OLD, BAD):
        shutil.copytree(resolve(model), home / name)
    (home / BAD / REJECTED).write_text(json.dumps([reason]))
    simulate(home / "decisions.db", Bundle.load(home), time.time(), per_day=per_day)
    return home


@contextlib.contextmanager
def paged(home: Path, folder: Path) -> Iterator[Served]:
    """The service of that model; its teacher answers at once, and its money has a cap."""
    (folder / "may").touch()
    with served(home, folder, "--teacher", "python:given_teacher:label", MONOKU_DAILY_USD="5") as found:
        yield found
