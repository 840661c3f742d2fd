"""Libraries that come with an extra, imported where they are used."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from inference.common.errors import MonokuError


@contextlib.contextmanager
def needing(extra: str, what: str) -> Iterator[None]:
    """Around imports for `what`: raises MonokuError naming the extra if a package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        hint = f'pip install "monoku[{extra}]" has what {what} needs'
        raise MonokuError(f"the package {error.name} is not installed; {hint}") from error


def library(name: str, extra: str) -> Any:
    """The module `name`. Raises MonokuError naming the extra if it is not installed."""
    with needing(extra, name):
        return importlib.import_module(name)
