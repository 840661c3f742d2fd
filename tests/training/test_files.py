"""Where commands write: what would fail or do harm is said before the work."""

import os
from pathlib import Path

import pytest

from training import scan, suspects
from training.data.files import check_output

ROWS = '{"text": "hi", "label": "a"}\n{"text": "bye", "label": "b"}\n'


def test_a_file_of_the_data_is_never_written_over(tmp_path: Path) -> None:
    data = tmp_path / "queries.jsonl"
    data.write_text(ROWS)
    (tmp_path / "link.html").symlink_to(data)
    for out in (data, tmp_path / "link.html"):
        for named in (data, tmp_path):
            with pytest.raises(ValueError, match="is a file of the data itself"):
                check_output(out, str(named))
    check_output(tmp_path / "new.html", str(data))


def test_the_folder_of_an_output_is_made_and_a_folder_is_no_file(tmp_path: Path) -> None:
    check_output(tmp_path / "a" / "b" / "page.html", "")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(ValueError, match="is a folder: give the name of a file"):
        check_output(tmp_path / "a", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="no permission to write into"):
        check_output(tmp_path / "page.html", "")


def test_scan_and_suspects_refuse_to_replace_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "queries.jsonl"
    data.write_text(ROWS)
    assert scan.main([str(data), "--html", str(data)]) == 2
    assert suspects.main(["--name", "m", "--data", str(data), "--out", str(data)]) == 2
    assert capsys.readouterr().err.count("is a file of the data itself") == 2
    assert data.read_text() == ROWS
