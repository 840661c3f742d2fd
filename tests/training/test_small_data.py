"""Small and odd data train, or are refused in one line at the start."""

import json
import random
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from inference.bundle.manifest import Bundle, resolve
from inference.classifier import Classifier
from tests.tiny import tiny_rows
from training import train
from training.data.dataset import load

SUPPORT = Path(__file__).parents[2] / "data" / "support" / "queries.jsonl"
QUICK = ("--epochs", "1", "--noisy-copies", "0", "--feed-forward-share", "0.5")
Rows = list[tuple[str, str]]

ODD_NAMES = ["$USD$_to_$EUR$", "a|b", "two\nlines", "\U0001f4b8", "$x^{$", "\\frac", "<b>", "none", "1"]
TINY: Rows = [(row["text"], row["label"]) for row in tiny_rows()]
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def made_up(intents: int, rows: int) -> Rows:
    rng = random.Random(0)
    return [(" ".join(rng.sample(WORDS, 5)), f"intent {n}") for n in range(intents) for _ in range(rows)]


# In one set what stands in nobody's way, for every training takes seconds.
ODD = [
    *((text, ODD_NAMES[n % len(ODD_NAMES)]) for n, (text, _) in enumerate(TINY[:180])),
    *((f"cancel my order {n}", "one template") for n in range(30)),
    ("quite another matter", "one example"),
]
CASES: dict[str, Rows] = {
    "fifty rows of two intents": [row for row in TINY if row[1] != "unknown"][:50],
    "nine rows": TINY[:9],
    "a thousand to one": [*((text, "all") for text, _ in made_up(1, 1000)), ("quite another matter", "rare")],
    "odd names, one template, one example": ODD,
}


def write(folder: Path, rows: Iterable[tuple[str, str]]) -> Path:
    folder.mkdir()
    lines = (json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    (folder / "queries.jsonl").write_text("".join(lines))
    return folder


def flags(data: Path, base: Path, models: Path) -> list[str]:
    return ["--data", str(data), "--base", str(base), "--models", str(models), *QUICK]


def trained(data: Path, base: Path, models: Path) -> Path:
    assert train.main(flags(data, base, models)) == 0
    return resolve(models / "data")


@pytest.mark.parametrize("name", CASES)
def test_it_trains_and_publishes_and_says_what_is_not_certified(
    name: str, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = trained(write(tmp_path / "data", CASES[name]), tiny_base, tmp_path / "models")
    bundle = Bundle.load(version)
    assert set(bundle.taxonomy.names) == {label for _, label in CASES[name]}
    uncertified = [one for one in bundle.manifest.certificates if one.accept_above is None]
    assert capsys.readouterr().out.count("nothing: defer everything") == len(uncertified)
    assert not any(Classifier(bundle, one.target).predict("anything at all").accepted for one in uncertified)
    assert {path.name for path in (version / "plots").iterdir()} == {
        f"{plot}.png" for plot in ("reliability", "risk_coverage", "confusion")
    }
    table = (version / "README.md").read_text().partition("## Intents")[2].partition("\n## ")[0]
    assert all(len(re.split(r"(?<!\\)\|", line)) == 7 for line in table.splitlines() if line.startswith("| "))


def drawn(folder: Path, seed: int) -> tuple[Path, Rows]:
    """250 random rows of the data set that comes with the project, and 300 others."""
    records = [json.loads(line) for line in SUPPORT.read_text(encoding="utf-8").splitlines()]
    rows = [(row["text"], row["label"]) for row in random.Random(seed).sample(records, 550)]
    return write(folder, rows[:250]), rows[250:]


@pytest.mark.parametrize("seed", range(5))
def test_any_250_rows_of_the_default_data_train(seed: int, tiny_base: Path, tmp_path: Path) -> None:
    version = trained(drawn(tmp_path / "data", seed)[0], tiny_base, tmp_path / "models")
    assert Bundle.load(version).manifest.metrics["rows"] > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50))
def test_any_250_rows_of_the_default_data_train_by_the_default_settings(seed: int, tmp_path: Path) -> None:
    data, others = drawn(tmp_path / "data", seed)
    assert train.main(["--data", str(data), "--models", str(tmp_path / "models")]) == 0
    # Not on the bundle's own test: of its 23 rows an accuracy of 68 % gets fewer than half right now and then.
    classifier = Classifier.load(tmp_path / "models" / "data")
    assert sum(classifier.predict(text).intent == label for text, label in others) > len(others) / 2


@pytest.mark.soak
def test_two_rows_for_each_of_a_thousand_intents_train(tiny_base: Path, tmp_path: Path) -> None:
    version = trained(write(tmp_path / "data", made_up(1000, 2)), tiny_base, tmp_path / "models")
    assert len(Bundle.load(version).taxonomy.names) == 1000


TEMPLATES = [
    "cancel my order {}",
    "please cancel my order number {} for today",
    "{} is the order that i want to cancel",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_an_intent_of_one_template_comes_out_alike_whatever_the_folder_is_called(template: str, tmp_path: Path) -> None:
    rows = [*TINY[:120], *((template.format(1000 + n), "cancel") for n in range(60))]
    outcomes = set()
    for number in range(20):
        data = load(str(write(tmp_path / f"shop {number}", rows)))
        splits = tuple((row.text, row.split) for row in data.rows)
        outcomes.add((splits, data.warnings, data.never_accepted))
    assert len(outcomes) == 1
    assert any("near-duplicates" in warning for warning in data.warnings)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([("one", "a"), ("two", "b")], "2 distinct rows are too few"),
        ([(text, "a") for text, _ in TINY[:50]], "all rows have the label 'a'; a classifier needs at least two"),
    ],
)
def test_what_cannot_train_is_refused_in_one_line(
    rows: Rows, complaint: str, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(flags(write(tmp_path / "data", rows), tiny_base, tmp_path / "models")) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err
    assert len(printed.err.splitlines()) == 1
    assert "[student]" not in printed.out
