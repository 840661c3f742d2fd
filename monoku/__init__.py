"""Monoku in one import: the public names of `inference`, loaded when first used; __main__ is the command."""

from importlib import import_module, metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference import *  # noqa: F403

__version__ = metadata.version("monoku")


def load(wing: str, module: str = "") -> Any:
    """Import Monoku's own `inference` or `training`. Raises ImportError where the package of that name is another's."""
    found = util.find_spec(wing)
    source = Path(found.origin).read_text(encoding="utf-8", errors="replace") if found and found.origin else ""
    if '__distribution__ = "monoku"' not in source:
        raise ImportError(
            f"the package {wing!r} at {found and found.origin} is not Monoku's: another distribution installs that "
            "name; install monoku into an environment of its own"
        )
    return import_module(f"{wing}.{module}" if module else wing)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(load("inference"), name)
