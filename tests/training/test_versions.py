import shutil
from pathlib import Path

import pytest

from inference.bundle.manifest import MANIFEST, Bundle, BundleError, read_manifest, resolve
from training.lifecycle import versions
from training.lifecycle.versions import rollback, serving, switch
from training.publish import main


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    """A model with two versions, the younger one serving."""
    home = tmp_path / "models" / "tiny"
    only = resolve(tiny_home)
    shutil.copytree(only, home / "20200101T000000Z-00000000")
    shutil.copytree(only, home / only.name)
    switch(home, only.name)
    return home


def drafted(home: Path) -> Path:
    draft = home / ".runs" / "x" / "bundle"
    shutil.copytree(resolve(home), draft)
    (draft / MANIFEST).unlink()
    return draft


def test_publishing_moves_the_whole_bundle_and_lets_it_serve(home: Path) -> None:
    manifest = read_manifest(resolve(home))
    target = versions.publish(drafted(home), manifest, home)
    assert serving(home) == target.name
    assert Bundle.load(home).root == target
    assert len(versions.versions(home)) == 3


def test_a_bundle_that_cannot_answer_never_serves(home: Path) -> None:
    before, draft = serving(home), drafted(home)
    (draft / "tokenizer.json").write_text("{")
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        versions.publish(draft, read_manifest(resolve(home)), home)
    assert serving(home) == before
    assert len(versions.versions(home)) == 2


def test_rollback_goes_one_version_back_and_no_further(home: Path) -> None:
    assert rollback(home) == serving(home) == "20200101T000000Z-00000000"
    with pytest.raises(BundleError, match="no version older"):
        rollback(home)


def test_a_damaged_version_is_not_promoted(home: Path) -> None:
    before = serving(home)
    (home / "20200101T000000Z-00000000" / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"model\.onnx was altered"):
        rollback(home)
    assert serving(home) == before


def test_lineage_counts_every_version(home: Path, tmp_path: Path) -> None:
    assert versions.next_lineage_version(home) == 2
    assert versions.next_lineage_version(tmp_path / "new") == 1


def test_a_folder_without_a_manifest_is_no_version(home: Path) -> None:
    (home / "20300101T000000Z-00000000").mkdir()
    assert "20300101T000000Z-00000000" not in versions.versions(home)
    with pytest.raises(BundleError, match="has no version"):
        switch(home, "20300101T000000Z-00000000")


def test_the_command_lists_promotes_and_rolls_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--name", "tiny", "--models", str(home.parent)]
    younger = serving(home)
    assert main([*flags, "--rollback"]) == 0
    assert main([*flags, "--promote", str(younger)]) == 0
    assert main([*flags, "--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2:] == ["20200101T000000Z-00000000", f"{younger}  serving"]
    assert main([*flags, "--promote", "nonsense"]) == 2
    assert "has no version 'nonsense'" in capsys.readouterr().err
