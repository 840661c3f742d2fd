"""The training commands as processes that do not import torch anew: each is forked from one server that has."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["torch", "transformers", "training.lifecycle.round", "training.student.export"])


class Program:
    """`python -m MODULE FLAG...` under way; what it prints goes to the file `output`. Leaving the context kills it."""

    def __init__(
        self,
        module: str,
        flags: Sequence[str],
        output: Path,
        environment: Mapping[str, str] | None = None,
        largest_file: int | None = None,
    ) -> None:
        output.write_bytes(b"")
        given = (module, list(flags), str(output), dict(environment or {}), largest_file)
        self._process = _SERVER.Process(target=_run, args=given)
        self._process.start()

    def wait(self) -> int:
        """Its exit status."""
        self._process.join()
        return int(self._process.exitcode or 0)

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def _run(module: str, flags: list[str], output: str, environment: dict[str, str], largest_file: int | None) -> None:
    file = os.open(output, os.O_WRONLY | os.O_APPEND)
    for place in (1, 2):
        os.dup2(file, place)
    sys.stdout, sys.stderr = (os.fdopen(place, "w", buffering=1) for place in (1, 2))
    os.environ.update(environment)
    if largest_file is not None:  # what a full disk does, without filling one
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = [module, *flags]
    sys.exit(importlib.import_module(module).main(flags))
