import subprocess
import sys
from pathlib import Path

import pytest

from inference.common.locks import Busy, take_lock

OTHER = """
import sys
from pathlib import Path
from inference.common.locks import take_lock
held = take_lock(Path(sys.argv[1]), "")
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "lock"
    with take_lock(path, "held by a test"), pytest.raises(Busy, match="a second try"):
        take_lock(path, "a second try")
    with take_lock(path, "free again"):
        pass


def test_a_process_that_is_killed_lets_its_lock_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="another process has it"):
            take_lock(tmp_path / "lock", "another process has it")
        other.kill()
        other.wait()
    with take_lock(tmp_path / "lock", "left behind"):
        pass
