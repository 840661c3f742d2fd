import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.manifest import Bundle, Manifest, resolve
from inference.bundle.taxonomy import Rule
from inference.bundle.versions import serving, versions
from inference.classifier import Classifier
from inference.common.commands import BUSY
from inference.common.locks import take_lock
from tests.programs import Program
from tests.tiny import TINY_SETTINGS, fail_on_a_full_disk, run_training, tiny_rows
from training import train
from training.data import dataset
from training.data.dataset import Dataset
from training.data.looks import BaseLooks
from training.evaluation.calibrate import calibrated


def flags(data: Path, base: Path, models: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--base", str(base), "--models", str(models), *more]


def test_a_run_ends_with_a_serving_bundle_and_leaves_nothing_behind(tiny_home: Path) -> None:
    assert resolve(tiny_home).name == serving(tiny_home) == versions(tiny_home)[0]
    assert sorted(path.name for path in tiny_home.iterdir()) == [".lock", ".switch.lock", serving(tiny_home), "current"]
    manifest = Bundle.load(tiny_home).manifest
    assert manifest.lineage == {"version": 1, "delta_spent": pytest.approx(0.0304, abs=1e-4)}
    assert manifest.reference == "gold"
    assert manifest.metrics["accuracy"] > 0.9
    assert [certificate.target for certificate in manifest.certificates] == [0.90, 0.95, 0.97, 0.99]
    assert Classifier.load(tiny_home).predict("check the invoice please").intent == "payments"


def test_the_report_says_how_the_bundle_was_made(tiny_home: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    assert report["rules"] == {"measured": [], "test": [], "unearned": []}
    assert report["settings"]["epochs"] == 2
    assert set(report["seconds"]) == {"dataset", "student", "export", "exit", "calibrate", "evaluate"}
    assert report["parity"]["agreement"] >= 0.95
    assert report["torch_on_test"]["in_scope"]["agreement"] >= 0.95
    assert report["slices"]["typos put in"]["rows"] == report["rows"]


def recalibrated(home: Path, folder: Path, data: Dataset, *rules: Rule) -> Manifest:
    """What calibration makes of the published student when the taxonomy has rules."""
    draft = shutil.copytree(resolve(home), folder)
    published = Bundle.load(draft).manifest
    taxonomy = replace(data.taxonomy, rules=rules)
    (draft / "taxonomy.toml").write_text(taxonomy.to_toml())
    fresh = replace(published, temperature=1.0, certificates=())
    classifier = Classifier(Bundle.draft(draft, fresh))
    return calibrated(classifier, replace(data, taxonomy=taxonomy), 0.95, published.lineage["delta_spent"])[0]


def test_rules_are_measured_on_dev_and_those_that_reach_no_target_change_nothing(
    tiny_home, tiny_data, tmp_path
) -> None:
    published, data = Bundle.load(tiny_home).manifest, dataset.load(str(tiny_data))
    assert recalibrated(tiny_home, tmp_path / "none", data).certificates == published.certificates
    bad, absent = Rule("bad", "unknown", ("please", "today")), Rule("absent", "account", ("zz",))
    manifest = recalibrated(tiny_home, tmp_path / "bad", data, bad, absent)
    assert manifest.certificates == published.certificates
    assert [rule.name for rule in manifest.rules] == ["bad", "absent"]
    assert manifest.rules[0].right < manifest.rules[0].fired <= len(data.split("dev"))
    assert (manifest.rules[1].fired, manifest.rules[1].confidence) == (0, 0.5)


def test_the_certificate_is_about_rules_and_student_together(tiny_home, tiny_data, tmp_path) -> None:
    data, rule = dataset.load(str(tiny_data)), Rule("zz", "payments", ("zz",))

    def marked(names: tuple[str, ...]) -> Dataset:
        """On dev zz means payments; on calibration it stands with `names`."""
        says = {"dev": ("payments",), "calibration": names}
        rows = [replace(r, text=f"{r.text} zz") if r.label in says.get(r.split, ()) else r for r in data.rows]
        return replace(data, rows=tuple(rows))

    good = recalibrated(tiny_home, tmp_path / "good", marked(("payments",)), rule)
    confidence = good.rules[0].confidence
    assert 0.9 <= confidence < 0.97
    certified = good.certificates[0]
    payments = sum(row.label == "payments" for row in data.split("calibration"))
    assert certified.accept_above is not None
    assert certified.accepted >= payments
    broken = recalibrated(tiny_home, tmp_path / "broken", marked(("payments", "account", "unknown")), rule)
    for certificate in broken.certificates:
        if certificate.target <= confidence:
            assert certificate.accept_above is None


def test_a_look_counts_whatever_the_model_is_called(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data", ignore=shutil.ignore_patterns("looks.json*"))
    first = BaseLooks(data).spend(0.05, "a model that was never published")
    run_training(*flags(data, tiny_base, tmp_path / "models", "--name", "another", "--target", "0.9"))
    manifest = Bundle.load(tmp_path / "models" / "another").manifest
    assert manifest.lineage == {"version": 2, "delta_spent": pytest.approx(first.delta / 4)}
    assert manifest.target == 0.9
    assert sum(one.delta for one in manifest.certificates) == pytest.approx(manifest.lineage["delta_spent"])
    assert Classifier.load(tmp_path / "models" / "another").certificate == manifest.certificates[0]


def test_data_too_small_for_a_certificate_train_without_one_and_say_so(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in tiny_rows()[:150])
    (tmp_path / "data" / "queries.jsonl").write_text(lines)
    printed = run_training(*flags(tmp_path / "data", tiny_base, tmp_path / "models"))
    assert "What is missing: about " in printed
    assert "a certificate with a chance of 0%" in printed
    manifest = Bundle.load(tmp_path / "models" / "data").manifest
    assert {one.accept_above for one in manifest.certificates} == {None}
    assert manifest.lineage == {"version": 0, "delta_spent": 0.0}
    assert not (tmp_path / "data" / "looks.json").exists()
    assert "What more labels would buy" in (resolve(tmp_path / "models" / "data") / "README.md").read_text()


def _state(home: Path) -> set[str]:
    return {path.name for run in (home / ".runs").glob("*") for path in run.iterdir()}


def _kill_when(given: list[str], home: Path, sign: str) -> None:
    """Start a run and kill it, hard, as soon as `sign` is printed or stands in its folder."""
    log = home.parent / "log"
    with Program("training.train", given, log) as program:
        deadline = time.monotonic() + 120
        while sign not in log.read_text() and sign not in _state(home):
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)


def test_a_run_killed_at_any_stage_serves_nothing_half_written_and_can_be_run_again(
    tiny_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    home, log = tmp_path / "tiny", tmp_path / "log"
    given = [*TINY_SETTINGS, *flags(tiny_data, tiny_base, tmp_path)]
    for sign in ("[student]", "checkpoints", "student", "[calibrate]", "[publish]"):
        _kill_when(given, home, sign)
        assert serving(home) is None or Classifier.load(home).predict("hello")
    assert Program("training.train", given, log).wait() == 0
    assert "already trained" in log.read_text()
    assert Classifier.load(home).predict("check the invoice please").intent == "payments"
    assert not (home / ".runs").exists()


def test_two_runs_at_once_do_not_meet(tiny_data: Path, tiny_base: Path, tmp_path: Path, capsys) -> None:
    with take_lock(tmp_path / "tiny" / ".lock", "held by a test"):
        assert train.main(flags(tiny_data, tiny_base, tmp_path)) == BUSY
    assert "another run is training" in capsys.readouterr().err


def test_writes_that_fail_leave_nothing_that_could_be_served(tiny_data, tiny_base, tmp_path) -> None:
    given = [*TINY_SETTINGS, *flags(tiny_data, tiny_base, tmp_path)]
    assert Program("training.train", given, tmp_path / "log", largest_file=1_000_000).wait() != 0
    assert serving(tmp_path / "tiny") is None
    assert versions(tmp_path / "tiny") == []


def test_a_full_disk_is_said_in_one_line(tiny_data, tiny_base, tmp_path, capsys, monkeypatch) -> None:
    fail_on_a_full_disk(monkeypatch)
    assert train.main(flags(tiny_data, tiny_base, tmp_path)) == 2
    assert f"error: no space left under {tmp_path}/tiny: free some" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--data", "no/such/folder.jsonl"], "no such file"),
        (["--base", "nobody/nothing"], "'nobody/nothing' cannot be loaded"),
        (["--max-tokens", "513"], "--max-tokens 513: the base model '"),
        (["--delta", "3"], "delta must lie between 0 and 1, got 3.0"),
        (["--target", "95"], "target must lie between 0.5 and 0.999, got 95.0"),
    ],
)
def test_what_is_invalid_is_one_clear_line(tiny_data, tiny_base, tmp_path, capsys, more, complaint) -> None:
    assert train.main([*flags(tiny_data, tiny_base, tmp_path), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert complaint in error
