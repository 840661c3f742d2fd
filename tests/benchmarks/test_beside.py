import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import beside
from tests.tiny import tiny_rows


def test_nothing_of_ours_is_imported_before_the_cold_start_is_timed() -> None:
    program = "import sys, benchmarks.beside; print([name for name in sys.modules if name.startswith('inference')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_classifier_is_timed_in_a_process_of_its_own_and_fitted_once(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, home, picture = tmp_path / "data", tmp_path / "home", tmp_path / "beside.svg"
    data.mkdir()
    for stem, rows in (("train", tiny_rows()), ("test", tiny_rows()[:60])):
        (data / f"{stem}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    given = [
        "--bundle",
        str(tiny_home),
        "--data",
        str(data),
        "--home",
        str(home),
        "--rounds",
        "1",
        "--plot",
        str(picture),
    ]
    assert beside.main([*given, "--others", "tf-idf + LR"]) == 0
    fitted = (home / "tf-idf-+-LR" / "head.joblib").stat().st_mtime_ns
    assert beside.main([*given, "--others", "tf-idf + LR"]) == 0
    assert (home / "tf-idf-+-LR" / "head.joblib").stat().st_mtime_ns == fitted
    ours, theirs = (line for line in capsys.readouterr().out.splitlines()[-2:])
    assert [ours[:6], theirs[:11]] == ["monoku", "tf-idf + LR"]
    for line in (ours, theirs):
        p50, p95, mean, rate, accuracy, _, cold = line.replace(",", "").split()[-7:]
        assert 0 < float(p50) <= float(p95)
        assert float(rate) == pytest.approx(1000 / float(mean), rel=0.1)
        assert float(accuracy.rstrip("%")) > 90
        assert float(cold) > 0
    assert "tf-idf + LR" in picture.read_text(encoding="utf-8")
