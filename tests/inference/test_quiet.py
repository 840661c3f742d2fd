"""What importing and classifying do beside their work: nothing, though onnxruntime would."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())  # the number of the system call
PROGRAM = """
import ctypes, sys
number, home = int(sys.argv[1]), sys.argv[2]


class Step(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step))]


# Load the system call's number; if it is socket(2), kill the process, whichever of its threads calls; else allow.
steps = (Step * 4)((0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Filter(4, steps)), 0, 0):
    sys.exit(77)

from inference import Cascade, Classifier

print(Classifier.load(home).predict("refund the invoice").intent, flush=True)
if "socket" in sys.argv:
    import socket
    socket.socket()
"""


def run(tiny_home: Path, tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    if not sys.platform.startswith("linux") or SOCKET is None:
        pytest.skip("the filter is written for Linux on x86-64 and arm64")
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    environment = {**kept, "HOME": f"{tmp_path}/home", "TMPDIR": f"{tmp_path}/tmp", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PROGRAM, str(SOCKET), str(tiny_home), *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 77:
        pytest.skip("the system takes no filter of system calls")
    return done


def test_importing_and_predicting_open_no_socket_and_write_nothing_at_home(tiny_home: Path, tmp_path: Path) -> None:
    done = run(tiny_home, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "payments\n", "")
    assert [path for name in ("home", "tmp") for path in (tmp_path / name).rglob("*")] == []


def test_a_socket_would_have_been_seen(tiny_home: Path, tmp_path: Path) -> None:
    done = run(tiny_home, tmp_path, "socket")
    assert (done.returncode, done.stdout) == (-31, "payments\n")  # killed by SIGSYS
