import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from inference.bundle import Bundle, resolve
from inference.classifier import Classifier
from tests.tiny import run_training, training_command
from training import train
from training.publish import serving, versions


def flags(data: Path, base: Path, models: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--base", str(base), "--models", str(models), *more]


def test_a_run_ends_with_a_serving_bundle_and_leaves_nothing_behind(tiny_home: Path) -> None:
    assert resolve(tiny_home).name == serving(tiny_home) == versions(tiny_home)[0]
    assert sorted(path.name for path in tiny_home.iterdir()) == [".lock", serving(tiny_home), "current"]
    manifest = Bundle.load(tiny_home).manifest
    assert manifest.lineage == {"version": 1, "delta_spent": pytest.approx(0.0304, abs=1e-4)}
    assert manifest.reference == "gold"
    assert manifest.metrics["accuracy"] > 0.9
    assert [certificate.target for certificate in manifest.certificates] == [0.90, 0.95, 0.97, 0.99]
    assert Classifier.load(tiny_home).predict("check the invoice please").intent == "payments"


def test_the_report_says_how_the_bundle_was_made(tiny_home: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    assert report["dials"]["epochs"] == 2
    assert set(report["seconds"]) == {"dataset", "student", "export", "calibrate", "evaluate"}
    assert report["parity"]["agreement"] >= 0.95
    assert report["torch_on_test"]["in_scope"]["agreement"] >= 0.95
    assert report["slices"]["typos put in"]["rows"] == report["rows"]


def _state(home: Path) -> set[str]:
    return {path.name for run in (home / ".runs").glob("*") for path in run.iterdir()}


def _kill_when(command: list[str], home: Path, sign: str) -> None:
    """Start a run and kill it, hard, as soon as `sign` is printed or stands in its folder."""
    log = home.parent / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 120
        while sign not in log.read_text() and sign not in _state(home):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)


def test_a_run_killed_at_any_stage_serves_nothing_half_written_and_can_be_run_again(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    home = tmp_path / "tiny"
    command = training_command(*flags(tiny_data, tiny_base, tmp_path))
    for sign in ("[student]", "checkpoints", "student", "[calibrate]", "[publish]"):
        _kill_when(command, home, sign)
        assert serving(home) is None or Classifier.load(home).predict("hello")
    printed = run_training(*flags(tiny_data, tiny_base, tmp_path))
    assert "trained already" in printed
    assert Classifier.load(home).predict("check the invoice please").intent == "payments"
    assert not (home / ".runs").exists()


def test_two_runs_at_once_do_not_meet(tiny_data: Path, tiny_base: Path, tmp_path: Path, capsys) -> None:
    with train._locked(tmp_path / "tiny"):
        assert train.main(flags(tiny_data, tiny_base, tmp_path)) == 2
    assert "another run is training" in capsys.readouterr().err


def test_writes_that_fail_leave_nothing_that_could_be_served(tiny_data, tiny_base, tmp_path) -> None:
    # Files larger than 1 MB cannot be written: what a full disk does, without filling one.
    command = " ".join(training_command(*flags(tiny_data, tiny_base, tmp_path)))
    done = subprocess.run(["bash", "-c", f"ulimit -f 1000; {command}"], capture_output=True, text=True)
    assert done.returncode != 0
    assert serving(tmp_path / "tiny") is None
    assert versions(tmp_path / "tiny") == []


def test_a_full_disk_is_said_in_one_line(tiny_data, tiny_base, tmp_path, capsys, monkeypatch) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("enforce fail at inline_container.cc")

    monkeypatch.setattr(train.student, "train", fail)
    with pytest.raises(RuntimeError, match="inline_container"):
        train.main(flags(tiny_data, tiny_base, tmp_path))
    monkeypatch.setattr(train, "FULL_DISK", 1 << 60)
    assert train.main(flags(tiny_data, tiny_base, tmp_path)) == 2
    assert "error: no space left under" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--data", "no/such/folder.jsonl"], "no such file"),
        (["--base", "nobody/nothing"], "'nobody/nothing' cannot be loaded"),
    ],
)
def test_what_is_off_is_one_clear_line(tiny_data, tiny_base, tmp_path, capsys, more, complaint) -> None:
    assert train.main([*flags(tiny_data, tiny_base, tmp_path), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
