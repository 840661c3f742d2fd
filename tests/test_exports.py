"""The public names: complete, resolvable, and the same whatever they are imported from."""

import subprocess
import sys

import pytest

import inference
import monoku
from monoku.__main__ import COMMANDS


@pytest.mark.parametrize("name", inference.__all__)
def test_every_public_name_resolves_and_is_the_same_in_both_packages(name: str) -> None:
    assert getattr(monoku, name) is getattr(inference, name)


def test_the_list_of_public_names_is_complete() -> None:
    namespace: dict[str, object] = {}
    exec("from inference import *", namespace)
    assert set(inference.__all__) == namespace.keys() - {"__builtins__"}
    assert inference.__all__ == sorted(inference.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    for package in (inference, monoku):
        with pytest.raises(AttributeError, match="Classifer"):
            _ = package.Classifer


def test_every_command_of_both_wings_is_a_subcommand() -> None:
    from importlib.util import find_spec

    assert all(find_spec(f"{wing}.{name}") for name, wing in COMMANDS.items())


def test_the_classifier_alone_loads_nothing_of_the_cascade() -> None:
    program = (
        "import sys; from inference import Classifier; print([n for n in sys.modules if n.startswith('inference.')])"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert not [room for room in ("serving", "teachers", "log", "money", "cache") if f"inference.{room}" in loaded]
