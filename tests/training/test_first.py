"""A first bundle serves before the student is fine-tuned, and the full one takes its place through the gate."""

import json
import shutil
from pathlib import Path

import pytest

from inference.bundle.manifest import Manifest, read_manifest
from inference.bundle.versions import REJECTED, serving, versions
from inference.common.commands import DONE, KEPT
from tests.tiny import TINY_SETTINGS, write_tiny_data
from training import train
from training.data.looks import LOOKS_FILE, look_delta
from training.lifecycle import first
from training.lifecycle.gate import Verdict

REFUSED = Verdict(False, ("it is slower",))


class Run:
    """`python -m training.train --first-bundle`, again and again, with data of its own."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.data = write_tiny_data(folder / "data")  # nobody has looked at their splits
        self.home = folder / "models" / "data"
        places = ["--data", str(self.data), "--base", str(base), "--models", str(self.home.parent)]
        self.arguments = [*places, *TINY_SETTINGS, "--target", "0.9"]

    def __call__(self, *more: str) -> int:
        return train.main([*self.arguments, *more])

    def manifests(self) -> list[Manifest]:
        return [read_manifest(self.home / name) for name in versions(self.home)]

    def looks(self) -> list[tuple[int, float]]:
        [path] = [*self.home.rglob(LOOKS_FILE), *self.data.rglob(LOOKS_FILE)]
        return [(look["number"], look["delta"]) for look in json.loads(path.read_text())["looks"]]


@pytest.fixture(scope="module")
def killed_once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that ended once its first bundle served."""
    run, real = Run(tiny_base, tmp_path_factory.mktemp("first")), first.train

    def until_one_serves(*arguments: object) -> object:
        if serving(run.home):
            raise KeyboardInterrupt
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first, "train", until_one_serves)
        run("--first-bundle")
    return run


@pytest.fixture
def killed(killed_once: Run, tiny_base: Path, tmp_path: Path) -> Run:
    """The same, for one test alone."""
    run = Run(tiny_base, tmp_path)
    for folder, mine in ((killed_once.data, run.data), (killed_once.home, run.home)):
        shutil.copytree(folder, mine, dirs_exist_ok=True)
    return run


PARTS = [(1, pytest.approx(0.1 * look_delta(0.05, 1))), (1, pytest.approx(0.9 * look_delta(0.05, 1)))]


def test_a_run_that_is_killed_serves_its_first_bundle_and_goes_on_where_it_was(killed: Run) -> None:
    [quick] = killed.manifests()
    assert quick.lineage == {"version": 1, "delta_spent": PARTS[0][1], "first": 0.1}
    assert killed("--first-bundle") == DONE
    _, full = killed.manifests()
    assert full.lineage == {"version": 1, "delta_spent": PARTS[1][1]}
    assert serving(killed.home) == versions(killed.home)[1]
    assert killed.looks() == PARTS


def test_what_the_gate_refuses_does_not_serve(killed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "compare", lambda *arguments: REFUSED)
    monkeypatch.setattr(first, "rows_needed", lambda points: 100)  # the tiny data have too few for any gate
    assert killed("--first-bundle") == KEPT
    quick, full = versions(killed.home)
    assert serving(killed.home) == quick
    assert json.loads((killed.home / full / REJECTED).read_text()) == list(REFUSED.reasons)


def test_a_plain_run_after_it_is_another_look_and_needs_no_gate(killed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "compare", lambda *arguments: REFUSED)
    assert killed() == DONE
    assert killed.looks() == [PARTS[0], (2, look_delta(0.05, 2))]
    assert ["first" in manifest.lineage for manifest in killed.manifests()] == [True, False]
