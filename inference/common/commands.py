"""What every command does in the same way: exit statuses, errors in one line, a quiet end when it is stopped.

status  meaning
0       done, or nothing to do
1       done, but some rows or queries failed; a report with --check: a target is missed, or may be
2       not done: an invalid argument, setting or file, a service that cannot be reached, a full disk
3       trained, but not published: the new version did not pass the gate
4       another process is at work on the same files
130     stopped with Ctrl-C
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn, ParamSpec

from inference.common.errors import MonokuError
from inference.common.locks import Busy

DONE, SOME_FAILED, FAILED, KEPT, BUSY, STOPPED = 0, 1, 2, 3, 4, 130
P = ParamSpec("P")


class FullDisk(MonokuError):
    """There is no space left. The message says where."""


class Parser(argparse.ArgumentParser):
    """A parser that reports an invalid argument in one line, as commands report every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(FAILED, f"error: {message}; --help lists the arguments\n")


def count(text: str) -> int:
    """The type of a flag that is a number of things, at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """The type of a flag that is a time."""
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, got {text!r}")
    return value


def port(text: str) -> int:
    """The type of a flag that is a port; 0 is any that is free."""
    if not text.isdecimal() or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def command(resumes: bool = False) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Make a function from arguments to an exit status the `main` of a command.

    `resumes`: run again after it was stopped, the command goes on where it was. Such a command has failed when the
    reader of its output leaves; one that does not resume only prints, and is then done.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> int:
            try:
                status = main(*args, **kwargs)
                sys.stdout.flush()  # a reader that left is noticed here, not as the interpreter ends
                return status
            except BrokenPipeError:
                _forget_output()
                return FAILED if resumes else DONE
            except KeyboardInterrupt:
                hint = "; run the same command again to go on" if resumes else ""
                print(f"stopped{hint}", file=sys.stderr)
                return STOPPED
            except ModuleNotFoundError as error:
                extra = 'pip install "monoku[train]" has what training needs'
                print(f"error: the package {error.name} is not installed; {extra}", file=sys.stderr)
                return FAILED
            except (MonokuError, ValueError, OSError) as error:
                print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
                return BUSY if isinstance(error, Busy) else FAILED

        return run

    return decorate


@contextlib.contextmanager
def naming_full_disk(folder: Path, least_bytes: int = 1 << 20) -> Iterator[None]:
    """Raise FullDisk for whatever fails while the disk of `folder` has at most `least_bytes` left.

    Libraries fail on a full disk in words of their own, each in another way.
    """
    try:
        yield
    except (MonokuError, ValueError):
        raise
    except Exception as error:
        place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if shutil.disk_usage(place).free > least_bytes:
            raise
        hint = "free some, then run the same command again"
        raise FullDisk(f"no space left under {folder}: {hint} ({error})") from error


def _forget_output() -> None:
    # The interpreter would write what is left at exit, and complain.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
