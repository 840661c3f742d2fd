"""The steps of deploy/Dockerfile in a folder, without Docker; its user is a bare number."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_PATHS = re.compile(r"(?<![\w./-])/(?:src|opt|models|state|tmp)\b")
# What the base image has, and what would change the machine that runs this.
_NOT_HERE = ("useradd",)


@dataclass
class Image:
    """A folder with what the Dockerfile makes of it; `variables`, `user`, `command` and `check` are
    those that it runs with."""

    folder: Path
    python: Path
    variables: dict[str, str] = field(default_factory=dict)
    user: int = 0
    command: list[str] = field(default_factory=list)
    check: list[str] = field(default_factory=list)
    _work: Path = Path()

    def place(self, text: str) -> str:
        """A path, or a command with paths, of the image as it is here."""
        return _PATHS.sub(lambda found: f"{self.folder}{found[0]}", text)

    def build(self, dockerfile: str) -> None:
        """Take every step."""
        for name in ("src", "opt", "tmp"):
            (self.folder / name).mkdir()
        (self.folder / "tmp").chmod(0o1777)
        lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
        for step in re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)$", "\n".join(lines), re.MULTILINE):
            name, rest = step[0], step[1].replace("\\\n", " ")
            getattr(self, f"_{name.lower()}")(rest)

    def _from(self, rest: str) -> None:
        # The stages share one folder: what one copies from another is there.
        self.variables, self._work = {"PATH": f"{self.python.parent}:/usr/bin:/bin"}, self.folder

    def _arg(self, rest: str) -> None:
        self._env(rest)

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self.variables[name] = self.place(value).replace("$PATH", self.variables["PATH"])

    def _workdir(self, rest: str) -> None:
        self._work = Path(self.place(rest))

    def _copy(self, rest: str) -> None:
        if rest.startswith("--from="):
            _, source, target = rest.split()
            assert source == target, "the stages share one folder"
            return
        *sources, target = rest.split()
        for name in sources:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / name, self._work / target, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self._work / target)

    def _run(self, rest: str) -> None:
        commands = [part for part in rest.split("&&") if part.split()[0] not in _NOT_HERE]
        line = re.sub(r"^python\b", str(self.python), self.place(" && ".join(commands)).strip())
        subprocess.run(["/bin/sh", "-euc", line], cwd=self._work, env=outside() | self.variables, check=True)

    def _user(self, rest: str) -> None:
        self.user = int(rest)

    def _cmd(self, rest: str) -> None:
        self.command = [self.place(word) for word in json.loads(rest)]

    def _healthcheck(self, rest: str) -> None:
        self.check = json.loads(rest.partition(" CMD ")[2])

    def _volume(self, rest: str) -> None:
        assert all(Path(self.place(one)).is_dir() for one in json.loads(rest))

    def _expose(self, rest: str) -> None:
        """Of a network that is not here."""

    def _stopsignal(self, rest: str) -> None:
        assert rest == "SIGTERM"

    def start(self, command: Sequence[str], **more: str) -> subprocess.Popen[bytes]:
        """Run a command as the image's user, who has no home and no name; what it prints goes to the file `log`."""
        program = shutil.which(command[0], path=self.variables["PATH"])
        variables = {**self.variables, "HOME": "/nonexistent", "TMPDIR": str(self.folder / "tmp"), **more}
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                [str(program), *command[1:]], cwd=self._work, env=variables, stdout=log, stderr=log,
                user=self.user, group=self.user, extra_groups=[],
            )  # fmt: skip

    def written(self) -> set[str]:
        """The files of the image's user: all that it has written, here and where anybody may write."""
        places = [self.folder, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/run")]
        found = subprocess.run(
            ["find", *map(str, places), "-xdev", "-user", str(self.user)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return set(found.stdout.split())


def outside() -> dict[str, str]:
    """What pip needs to know of this machine: no virtual environment of ours, and no paths of modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL", "MONOKU"))}
