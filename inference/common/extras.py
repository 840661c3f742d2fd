"""Libraries that come with an extra, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any


def library(name: str, extra: str) -> Any:
    """The module `name`. Raises ValueError naming the extra if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f'the package {name} is not installed: pip install "monoku[{extra}]" has it') from error
