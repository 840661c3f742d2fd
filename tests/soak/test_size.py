"""A million rows, and a run on many rows that is killed."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.size import run, seeds_of, write
from training.data.linking import GROUPS_FILE

pytestmark = pytest.mark.soak
SUPPORT = Path("data/support")


def test_a_million_rows_keep_within_time_memory_and_recall(tmp_path: Path) -> None:
    figures = run(1_000_000, SUPPORT, tmp_path)
    assert {name: value for name, (value, bar) in figures.items() if value > bar} == {}


def test_a_run_that_is_killed_at_any_time_loses_nothing(tmp_path: Path) -> None:
    disturbed = write(tmp_path / "a", 30_000, seeds_of(SUPPORT))
    whole = Path(shutil.copytree(disturbed, tmp_path / "b"))
    command = [sys.executable, "-m", "training.dataset"]
    for seconds in range(1, 10):
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, str(disturbed)], stdout=subprocess.DEVNULL, timeout=seconds, check=True)
    printed = [subprocess.run([*command, str(path)], capture_output=True, check=True) for path in (disturbed, whole)]
    assert printed[0].stdout.replace(bytes(disturbed), b"") == printed[1].stdout.replace(bytes(whole), b"")
    for name in ("splits.json", GROUPS_FILE):
        assert (disturbed / name).read_bytes() == (whole / name).read_bytes()
