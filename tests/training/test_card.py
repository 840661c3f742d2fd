import json
from pathlib import Path

from inference.bundle.manifest import Certificate, Manifest, resolve
from training.evaluation.card import card_text

PNG = b"\x89PNG"


def test_the_bundle_carries_a_card_with_figures_and_plots(tiny_home: Path) -> None:
    version = resolve(tiny_home)
    report = json.loads((version / "report.json").read_text())
    card = (version / "README.md").read_text()
    assert f"{report['accuracy']:.1%}" in card
    for title in ("## Certificates", "## Out of scope", "## Intents", "## Where it is weak", "## Where it comes from"):
        assert title in card
    for name in ("reliability", "risk_coverage", "confusion"):
        assert f"plots/{name}.png" in card
        assert (version / "plots" / f"{name}.png").read_bytes().startswith(PNG)


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
