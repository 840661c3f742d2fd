"""What is installed: a wheel with all of Monoku and nothing else, used from a folder that is not the repository."""

import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

WINGS = ("inference", "training", "monoku")
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the source: setuptools leaves its traces where it builds."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*WINGS, "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    build = ["pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([sys.executable, "-m", *build, str(source)], check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare virtual environment with the wheel; its dependencies are those of the environment that runs the tests."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    install = ["pip", "--python", str(home / "bin/python"), "install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return home / "bin/python"


def run(command: list[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=clean | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_wheel_holds_every_module_and_nothing_else(wheel: Path) -> None:
    expected = {path.relative_to(ROOT).as_posix() for name in WINGS for path in (ROOT / name).rglob("*.py")}
    page = ROOT / "inference/service/page"
    assets = [*page.glob("templates/*.html"), *page.glob("static/*")]
    expected |= {path.relative_to(ROOT).as_posix() for path in assets}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == expected | {f"{name}/py.typed" for name in WINGS}


def test_the_public_names_come_from_one_import(python: Path, tiny_home: Path, tmp_path: Path) -> None:
    program = f"""
from monoku import Cascade, Classifier, __version__
import inference
assert "site-packages" in inference.__file__, inference.__file__
print(Classifier.load({str(tiny_home)!r}).predict("refund the invoice").intent, Cascade.__name__, __version__)
"""
    done = run([python, "-c", program], tmp_path)
    assert (done.stdout.split()[:2], done.stderr) == (["payments", "Cascade"], "")


def test_the_console_script_classifies(python: Path, tiny_home: Path, tmp_path: Path) -> None:
    script = python.with_name("monoku")
    done = run([script, "classify", "--bundle", tiny_home, "refund the invoice"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"intent": "payments"' in done.stdout
    assert run([script, "classify", "--help"], tmp_path).stdout.startswith("usage: monoku classify")
    assert run([script, "clasify"], tmp_path).returncode == 2


def test_training_is_installed_under_its_own_name(python: Path, tmp_path: Path) -> None:
    done = run([python, "-m", "training.train", "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: train.py")


@pytest.mark.parametrize("wing", ["inference", "training"])
def test_another_distributions_package_of_the_same_name_is_named_in_one_line(
    python: Path, tmp_path: Path, wing: str
) -> None:
    foreign = tmp_path / "foreign" / wing / "__init__.py"
    foreign.parent.mkdir(parents=True)
    foreign.write_text("raise SystemExit('the foreign package was run')")
    command = {"inference": "classify", "training": "train"}[wing]
    done = run([python, "-m", "monoku", command, "--help"], tmp_path, PYTHONPATH=str(foreign.parent.parent))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"the package {wing!r} at {foreign} is not Monoku's" in done.stderr


def test_without_an_extra_the_command_says_which_is_missing(python: Path, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['transformers'] = None; from monoku.__main__ import main; sys.exit(main(['train']))"
    )
    done = run([python, "-c", program], tmp_path)
    assert done.returncode == 2
    assert 'pip install "monoku[train]"' in done.stderr
