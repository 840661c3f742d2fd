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


@pytest.mark.parametrize("how", ["crlf", "mark", "link", "link with a path"])
def test_what_another_tool_wrote_as_current_names_the_same_version(home: Path, how: str) -> None:
    newest, pointer = versions(home)[-1], home / "current"
    pointer.unlink()
    if how.startswith("link"):
        pointer.symlink_to(home / newest if how == "link with a path" else newest)
    else:
        pointer.write_bytes(f"{newest}\r\n".encode("utf-8-sig" if how == "mark" else "utf-8"))
    assert (serving(home), before(home), resolve(home)) == (newest, OLD, home / newest)
    switch(home, OLD)
    assert (serving(home), pointer.read_text()) == (OLD, f"{OLD}\n")


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
