import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import inference
import training
from inference.bundle.manifest import BundleError
from inference.common import errors
from inference.common.errors import MonokuError


def exceptions() -> Iterator[type[BaseException]]:
    """Every exception class that a module of either wing defines."""
    for wing in (inference, training):
        for found in pkgutil.walk_packages(wing.__path__, f"{wing.__name__}."):
            module = importlib.import_module(found.name)
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if issubclass(kind, BaseException) and kind.__module__ == module.__name__:
                    yield kind


def test_every_exception_of_ours_derives_from_one_and_stands_in_the_drawn_tree() -> None:
    ours = set(exceptions())
    assert len(ours) > 10
    drawn = {line.split()[1]: line.split()[-1] for line in errors.__doc__.splitlines() if "─ " in line}
    drawn.pop("raised")
    assert all(issubclass(kind, MonokuError) for kind in ours)
    assert {kind.__name__: kind.__module__ for kind in ours - {MonokuError}} == drawn


def test_what_handled_a_refused_bundle_as_a_value_error_still_does() -> None:
    assert issubclass(BundleError, ValueError)
    assert inference.MonokuError is MonokuError
