from pathlib import Path

import pytest

from tests.tiny import tiny_rows
from tests.training.test_dataset import folder, splits_of
from training.data.dataset import load
from training.data.looks import BaseLooks
from training.dataset import main


def test_dividing_anew_keeps_the_old_splits_and_begins_a_new_lineage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    before = splits_of(path)
    old = (path / "splits.json").read_bytes()
    BaseLooks(path, after=4).spend(0.05, "a model")
    assert main([str(path), "--resplit"]) == 0
    assert "count from 1 again" in capsys.readouterr().out
    assert (path / "splits.json.1").read_bytes() == old
    assert (path / "looks.json.1").is_file()
    assert BaseLooks(path, after=4).spend(0.05, "another model").number == 1
    changed = sum(before[text] != split for text, split in splits_of(path).items())
    assert changed > len(before) / 4
    assert main([str(path), "--resplit"]) == 0
    assert (path / "splits.json.2").is_file()


def test_a_read_only_folder_is_left_alone(tmp_path: Path) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    path.chmod(0o555)
    try:
        load(str(path), fallback=tmp_path / "elsewhere")
    finally:
        path.chmod(0o755)
    assert not (path / "splits.json").exists()
    assert (tmp_path / "elsewhere" / "splits.json").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"salt": "a"}'])
def test_a_damaged_splits_file_stops_the_run(tmp_path: Path, content: bytes) -> None:
    path = folder(tmp_path / "d", [dict(row) for row in tiny_rows()])
    (path / "splits.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"splits\.json is damaged"):
        load(str(path))
