"""Versions as an application sees them: of two people who switch at once, one is told of the other."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inference.bundle.manifest import BundleError, resolve
from inference.bundle.versions import REJECTED, Conflict, before, promote, serving, switch, versions

OLD, OLDER = "20200102T000000Z-00000000", "20200101T000000Z-00000000"


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    """A model with three versions, the youngest one serving."""
    home = tmp_path / "tiny"
    for name in (OLDER, OLD, resolve(tiny_home).name):
        shutil.copytree(resolve(tiny_home), home / name)
    switch(home, versions(home)[-1])
    return home


def test_who_saw_another_version_serve_changes_nothing(home: Path) -> None:
    seen = serving(home)
    promote(home, OLD, seen=seen)
    with pytest.raises(Conflict, match=rf"{seen} no longer serves, {OLD} does"):
        promote(home, OLDER, seen=seen)
    assert serving(home) == OLD


def test_of_several_who_promote_at_once_one_succeeds(home: Path) -> None:
    seen = serving(home)

    def tried(name: str) -> bool:
        try:
            promote(home, name, seen=seen)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as people:
        assert sum(people.map(tried, [OLD, OLDER] * 4)) == 1


def test_the_version_before_is_named_and_of_the_oldest_there_is_none(home: Path) -> None:
    assert before(home) == OLD
    switch(home, OLDER)
    assert before(home) is None


@pytest.mark.parametrize("content", ["", "{", "5", "null"])
def test_a_verdict_that_cannot_be_read_is_named(content: str, home: Path) -> None:
    (home / OLD / REJECTED).write_text(content)
    with pytest.raises(BundleError, match=rf"{OLD}/{REJECTED} must be a list"):
        before(home)
