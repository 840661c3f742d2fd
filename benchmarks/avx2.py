"""Run a command as on a processor that has AVX2 and nothing newer: python -m benchmarks.avx2 COMMAND...

    python -m benchmarks.avx2 python -m training.train --data data/support --models /tmp/models

Every program of the command is told by the CPUID instruction that there is no AVX-512, VNNI, bf16 or AMX, so that
torch, onnxruntime and numpy take the code that they have for AVX2, at full speed. Caches, clock and memory stay those
of this processor. Needs Linux on an x86-64 processor with CPUID faulting (`cpuid_fault` in /proc/cpuinfo), and cc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def built(folder: Path) -> Path:
    """The library that LD_PRELOAD takes. Raises RuntimeError if it cannot be built here."""
    compiler, library = shutil.which("cc"), folder / "avx2.so"
    if compiler is None:
        raise RuntimeError("there is no C compiler: install cc")
    made = subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], capture_output=True)
    if made.returncode:
        raise RuntimeError(f"{SOURCE.name} cannot be compiled here: {made.stderr.decode(errors='replace')}")
    return library


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    command = list(sys.argv[1:] if argv is None else argv)
    if not command:
        raise SystemExit("give the command to run: python -m benchmarks.avx2 COMMAND...")
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, env={**os.environ, "LD_PRELOAD": str(built(Path(folder)))}).returncode


if __name__ == "__main__":
    sys.exit(main())
