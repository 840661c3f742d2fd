import json
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.manifest import SCHEMA, Certificate, IntentCertificate, Manifest, seal
from inference.costs import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, dict[str, Any]], str]:
    assert main([*arguments, "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    rows = {f"{row['group']}: {row['name']}": row for row in values["rows"]}
    assert len(rows) == len(values["rows"])
    return rows, "\n".join(values["notes"])


def the(rows: dict[str, dict[str, Any]], *words: str) -> dict[str, Any]:
    (found,) = [row for name, row in rows.items() if all(word in name for word in words)]
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    certificates = (
        Certificate(0.9, 0.025, 0.5, 0.95, 0.93, 950),
        Certificate(0.95, 0.025, 0.7, 0.8, 0.97, 800),
        Certificate(0.99, 0.025, None),
    )
    seal(tmp_path, Manifest(labels=("a", "b"), max_tokens=16, certificates=certificates))
    return tmp_path


def test_the_classic_comparison_comes_out_as_it_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    rows, _ = run(capsys)
    assert the(rows, "Claude 3.5 Sonnet", "retired")["usd_per_month"] == 225.0
    assert the(rows, ": Claude 3 Haiku (retired")["usd_per_month"] == 18.75
    hybrid = the(rows, "hybrid")
    assert hybrid["usd_per_month"] == 5.625
    assert hybrid["share_of_all_teacher"] == 0.3


def test_today_s_prices_with_and_without_the_prompt_cached(capsys: pytest.CaptureFixture[str]) -> None:
    rows, notes = run(capsys)
    assert the(rows, "the same tokens", "batches")["usd_per_month"] == pytest.approx(3.75)
    assert the(rows, "prompt of 700", "every request, uncached")["usd_per_month"] == pytest.approx(28.5)
    assert the(rows, "prompt of 700", "every request, prompt cached")["usd_per_month"] == pytest.approx(9.6)
    assert the(rows, "prompt of 700", "in batches")["usd_per_month"] == pytest.approx(14.25)
    assert "at least 512 tokens" in notes
    assert "cascade is left out" in notes
    assert not any("deferred" in name for name in rows)


def test_a_prompt_too_short_to_be_cached_pays_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    rows, notes = run(capsys, "--prompt-tokens", "511")
    assert (
        the(rows, "every request, prompt cached")["usd_per_month"]
        == the(rows, "every request, uncached")["usd_per_month"]
    )
    assert "too short" in notes
    rows, _ = run(capsys, "--prompt-tokens", "512")
    assert (
        the(rows, "every request, prompt cached")["usd_per_month"]
        < the(rows, "every request, uncached")["usd_per_month"] / 2
    )


def test_the_cascade_costs_what_it_defers_at_the_bundle_s_coverage(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, notes = run(capsys, "--bundle", str(bundle))
    cascade = the(rows, "cascade: 20.0% deferred")
    assert cascade["share_of_all_teacher"] == pytest.approx(0.2)
    assert cascade["usd_per_month"] == pytest.approx(9.6 * 0.2)
    assert "80.0% of its calibration sample" in notes


def test_what_is_accepted_by_intents_own_certificates_is_answered_locally_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = IntentCertificate(0.99, 0.01, 0.9, coverage=0.1, intent="a")
    pooled = Certificate(0.95, 0.01, 0.7, 0.6)
    seal(tmp_path, Manifest(("a", "b"), 16, schema=SCHEMA, certificates=(pooled,), intents=(own,)))
    rows, _ = run(capsys, "--bundle", str(tmp_path))
    assert the(rows, "cascade: 30.0% deferred")["share_of_all_teacher"] == pytest.approx(0.3)


def test_every_figure_follows_the_load(capsys: pytest.CaptureFixture[str]) -> None:
    once, _ = run(capsys)
    twice, _ = run(capsys, "--requests-per-day", "20000")
    for name, row in once.items():
        assert twice[name]["usd_per_month"] == pytest.approx(2 * row["usd_per_month"])
        assert twice[name]["usd_per_request"] == row["usd_per_request"]
    larger, _ = run(capsys, "--tokens-in", "400", "--tokens-out", "20")
    assert the(larger, "Sonnet")["usd_per_month"] == 450.0


def test_the_table_has_every_row(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(bundle)]) == 0
    printed = capsys.readouterr().out
    for text in ("225.00", "18.75", "5.625", "0.0007500", "28.50", "9.600", "1.920", "20.0%", "retired 2026-04-20"):
        assert text in printed


def test_a_missing_bundle_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path / "absent")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "absent is not a bundle" in printed.err


def test_a_bundle_without_the_certificate_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seal(tmp_path, Manifest(labels=("a", "b"), max_tokens=16))
    assert main(["--bundle", str(tmp_path)]) == 2
    assert "no certificate for target 0.95" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_load_that_is_none_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--tokens-in={value}"])
    assert "whole number" in capsys.readouterr().err
