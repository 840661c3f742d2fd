import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import avx2

FOUND = """
import json
from numpy._core._multiarray_umath import __cpu_features__
print(json.dumps([name for name, there in __cpu_features__.items() if there]))
"""
CPUS = Path("/proc/cpuinfo")
HIDES = CPUS.exists() and "cpuid_fault" in CPUS.read_text() and shutil.which("cc") is not None
needs_hiding = pytest.mark.skipif(not HIDES, reason="this processor cannot hide instruction sets, or there is no cc")


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks.avx2", *command], capture_output=True, text=True)


@needs_hiding
def test_a_command_and_what_it_starts_find_avx2_and_nothing_newer() -> None:
    again = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {FOUND!r}]).returncode)"
    for program in (FOUND, again):
        found = json.loads(ran(sys.executable, "-c", program).stdout)
        assert "AVX2" in found
        assert not [name for name in found if name.startswith("AVX512")]


@needs_hiding
def test_the_exit_status_is_the_commands_and_its_own_faults_end_it() -> None:
    assert ran(sys.executable, "-c", "raise SystemExit(7)").returncode == 7
    crash = ran(sys.executable, "-c", "import ctypes; ctypes.string_at(0)")
    assert crash.returncode == 245  # of a signal, 11: segmentation fault


def test_no_command_and_no_compiler_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give the command"):
        avx2.main([])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="install cc"):
        avx2.built(tmp_path)
