import json
import shutil
from pathlib import Path

import pytest

from inference.bundle import trial
from inference.bundle.manifest import MANIFEST, Bundle, BundleError, read_manifest, resolve
from inference.bundle.versions import REJECTED, rollback, serving, switch
from inference.bundle.versions import versions as names
from training.lifecycle import versions
from training.lifecycle.options import Options
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
    assert len(names(home)) == 3


def test_a_version_that_passed_can_be_put_on_trial_and_stays_there_when_others_go(home: Path) -> None:
    before = serving(home)
    target = versions.publish(drafted(home), read_manifest(resolve(home)), home, on_trial=True)
    assert serving(home) == before
    assert trial.on_trial(home) == trial.Trial(target.name, str(before))
    later = target.with_name("29990101T000000Z-00000000")
    shutil.copytree(target, later)
    assert versions.prune(home, 1) == ["20200101T000000Z-00000000"]
    assert trial.on_trial(home) is not None


def test_a_bundle_that_cannot_answer_never_serves(home: Path) -> None:
    before, draft = serving(home), drafted(home)
    (draft / "tokenizer.json").write_text("{")
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        versions.publish(draft, read_manifest(resolve(home)), home)
    assert serving(home) == before
    assert len(names(home)) == 2


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
    assert "20300101T000000Z-00000000" not in names(home)
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


def copied(home: Path, stamp: str, *rejected: str) -> str:
    """Another version, of this time."""
    name = f"{stamp}-00000000"
    shutil.copytree(resolve(home), home / name)
    if rejected:
        (home / name / REJECTED).write_text(json.dumps(rejected))
    return name


def test_what_served_outlives_any_number_of_rejected_versions(home: Path) -> None:
    good, bad = names(home), [copied(home, f"2030010{day}T000000Z", "worse") for day in range(1, 6)]
    assert versions.prune(home, keep=2) == bad[:3]
    assert rollback(home) == good[0]
    assert versions.prune(home, keep=1, keep_too=bad[3]) == []  # of those that served the newest, and the serving one
    assert versions.prune(home, keep=1) == [bad[3]]


def test_keeping_0_versions_keeps_all(home: Path) -> None:
    copied(home, "20300101T000000Z", "worse")
    assert versions.prune(home, keep=0) == []
    with pytest.raises(ValueError, match="keep must be at least 0"):
        Options(keep=-1)


def test_a_rejected_version_is_promoted_by_force_alone_and_has_served_from_then_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags, before = ["--name", "tiny", "--models", str(home.parent)], serving(home)
    bad = copied(home, "20300101T000000Z", "accuracy is worse", "coverage is worse")
    assert main([*flags, "--promote", bad]) == 2
    assert "was rejected: accuracy is worse; coverage is worse. Add --force" in capsys.readouterr().err
    assert serving(home) == before
    (home / bad / MANIFEST).unlink()
    assert main([*flags, "--promote", bad, "--force"]) == 2
    shutil.copy(resolve(home) / MANIFEST, home / bad / MANIFEST)
    assert main([*flags, "--promote", bad, "--force"]) == 0
    assert serving(home) == bad
    switch(home, versions.publish(drafted(home), read_manifest(resolve(home)), home).name)
    assert rollback(home) == bad


def test_a_version_of_a_clock_that_ran_ahead_does_not_come_after_the_next_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(home, "29991231T235959Z")
    target = versions.publish(drafted(home), read_manifest(resolve(home)), home)
    assert target.name.startswith("30000101T000000Z-")
    assert names(home)[-1] == serving(home) == target.name
    assert "a version of 29991231T235959Z" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--promote", "--shadow", "--canary", "--push"])
def test_an_empty_value_is_no_list_of_versions(home: Path, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(home.parent), "--name", home.name, flag, ""]) == 2
    assert "an empty value" in capsys.readouterr().err


def test_a_model_that_is_not_there_has_no_empty_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--models", str(tmp_path), "--name", "typo", "--list"]) == 2
    assert f"there is no model at {tmp_path / 'typo'}" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, ""])
def test_where_nothing_serves_there_is_nothing_to_go_back_from(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "current").write_text(content)
    with pytest.raises(BundleError, match="names no version, so there is none to go back from"):
        rollback(tmp_path)
