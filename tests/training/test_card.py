import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import metadata_load

from inference.bundle.manifest import Bundle, Certificate, Manifest, resolve
from inference.bundle.taxonomy import Rule
from tests.ruled import add_rules
from training.evaluation.card import card_text, write_card

PNG = b"\x89PNG"


def test_the_bundle_carries_a_card_with_figures_and_plots(tiny_home: Path) -> None:
    version = resolve(tiny_home)
    report = json.loads((version / "report.json").read_text())
    card = (version / "README.md").read_text()
    assert f"{report['accuracy']:.1%}" in card
    for title in (
        "## Intended use",
        "## Limits",
        "## Training data",
        "## Certificates",
        "## Out of scope",
        "## Intents",
        "## Where it is weak",
        "## Where it comes from",
    ):
        assert title in card
    for name in ("reliability", "risk_coverage", "confusion"):
        assert f"plots/{name}.png" in card
        assert (version / "plots" / f"{name}.png").read_bytes().startswith(PNG)


def test_the_card_says_what_was_tried_and_what_was_kept(tiny_home: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    manifest = Bundle.load(tiny_home).manifest
    (kept,) = [one for one in report["tried"] if one["kept"]]
    assert len(report["tried"]) >= 3
    line = f"| {kept['tuned']:.0%} | {kept['centres']:.0%} | {kept['accuracy']:.1%} | {kept['area']:.4f} | kept |"
    assert line in card_text(manifest, report)
    del report["tried"]
    assert "## What was tried" not in card_text(manifest, report)


def test_the_hub_can_read_the_front_matter(tiny_home: Path, tmp_path: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    manifest = Bundle.load(tiny_home).manifest
    data = {"name": "desk", "rows": {"train": 3}, "labelers": {"a: b": 3}, "license": "mit", "language": ["en", "de"]}
    (tmp_path / "README.md").write_text(card_text(manifest, report | {"data": data}))
    values = metadata_load(tmp_path / "README.md")
    assert values
    assert (values["license"], values["language"], values["metrics"]) == ("mit", ["en", "de"], ["accuracy", "f1"])
    assert (values["pipeline_tag"], "onnx" in values["tags"]) == ("text-classification", True)
    ((result,), name) = ([one["results"] for one in values["model-index"]], values["model-index"][0]["name"])
    assert (name, result[0]["metrics"][0]["value"]) == ("desk", round(report["accuracy"], 4))
    assert "base_model" not in values  # it is a folder on this machine
    named = replace(manifest, base={"name": "all-MiniLM-L6-v2", "sha256": "0"})
    assert "base_model: sentence-transformers/all-MiniLM-L6-v2\n" in card_text(named, report)


def test_shares_of_few_rows_have_wide_intervals(tiny_home: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    report |= {"accuracy": 0.5, "rows": 10}
    assert "50.0% (18.7% to 81.3%)" in card_text(Bundle.load(tiny_home).manifest, report)


def test_the_card_of_a_bundle_with_rules_says_what_they_accept(tiny_home: Path, tmp_path: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    ruled = Bundle.load(add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))).manifest
    assert "keyword rule" in card_text(ruled, report)
    assert "keyword rule" not in card_text(Bundle.load(tiny_home).manifest, report)


def test_a_certificate_that_does_not_exist_is_said_in_words(tiny_home: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    report["certificates"] = [
        {
            "target": 0.99,
            "delta": 0.01,
            "accept_above": None,
            "coverage": 0.0,
            "test_coverage": 0.0,
            "test_agreement": None,
        }
    ]
    manifest = Manifest(
        labels=("a", "b"),
        max_tokens=8,
        certificates=(Certificate(0.99, 0.01, None),),
        base={"name": "n", "sha256": "0"},
        lineage={"version": 1, "delta_spent": 0.03},
    )
    assert "| 99% | none: defer everything | 0.0% | 0.0% | – |" in card_text(manifest, report)


def test_a_name_is_text_in_plots_and_tables_whatever_it_holds(tiny_home: Path, tmp_path: Path) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    names = ("$x^{$", "a|b", "two\nlines")
    report["per_intent"] = dict(zip(names, report["per_intent"].values(), strict=True))
    manifest = replace(Bundle.load(tiny_home).manifest, labels=names)
    write_card(tmp_path, manifest, report)
    assert (tmp_path / "plots" / "confusion.png").read_bytes().startswith(PNG)
    card = (tmp_path / "README.md").read_text()
    assert "| $x^{$ |" in card
    assert "| a\\|b |" in card
    assert "| two lines |" in card


def test_a_plot_that_cannot_be_drawn_is_told_and_left_out(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = json.loads((resolve(tiny_home) / "report.json").read_text())
    write_card(tmp_path, Bundle.load(tiny_home).manifest, {**report, "confusion": "nonsense"})
    assert "warning: no plot confusion: " in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {"reliability.png", "risk_coverage.png"}
    assert "plots/confusion.png" not in (tmp_path / "README.md").read_text()
