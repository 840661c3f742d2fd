"""The public names: complete, resolvable, and the same whatever they are imported from."""

import doctest
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inference
import monoku
from monoku.__main__ import COMMANDS


@pytest.mark.parametrize("name", inference.__all__)
def test_every_public_name_resolves_and_is_the_same_in_both_packages(name: str) -> None:
    assert getattr(monoku, name) is getattr(inference, name)


@pytest.mark.parametrize("name", inference.__all__)
def test_the_example_of_every_public_class_gives_what_it_shows(
    name: str, tiny_home: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_home, tmp_path / "models" / "support")
    shutil.copy(tiny_data / "taxonomy.toml", tmp_path)
    monkeypatch.chdir(tmp_path)
    names = {each: getattr(inference, each) for each in inference.__all__}
    text = inspect.getdoc(names[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


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
