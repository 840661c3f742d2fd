"""A model from the taxonomy alone: right more often than not, and never accepted."""

import json
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import Bundle, resolve
from inference.bundle.taxonomy import Intent, Taxonomy
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.log.decision_log import DecisionLog
from inference.log.drift import read_reference
from tests.tiny import TAXONOMY
from training import train
from training.data.source import read_source
from training.student.prototypes import texts_of

SUPPORT = Path(__file__).parents[2] / "data" / "support"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default taxonomy as a model, with the base model that comes with the package."""
    models = tmp_path_factory.mktemp("models")
    assert train.main(["--from-taxonomy", "--data", str(SUPPORT), "--models", str(models)]) == 0
    return models / "support"


def test_the_default_taxonomy_alone_is_right_on_three_of_five_test_rows(home: Path) -> None:
    splits = json.loads((SUPPORT / "splits.json").read_text())["splits"]
    test = [row for row in read_source(str(SUPPORT)).rows if splits.get(row.key) == "test"]
    answers = Classifier.load(home).predict_many([row.text for row in test])
    right = np.mean([answer.intent == row.label for answer, row in zip(answers, test, strict=True)])
    assert right >= 0.60
    assert not any(answer.accepted for answer in answers)


def test_it_is_certified_for_nothing_and_says_so(home: Path) -> None:
    bundle = Bundle.load(home)
    assert {one.accept_above for one in bundle.manifest.certificates} == {None}
    assert bundle.manifest.never_accepted == bundle.taxonomy.names
    assert "No labelled\nrow was seen" in (resolve(home) / "README.md").read_text()
    assert read_reference(home)[1] == {"confidence": {}, "intent": {}}


def test_its_traffic_is_sampled_as_that_of_day_zero(home: Path, tmp_path: Path) -> None:
    log = str(tmp_path / "decisions.db")
    settings = {"log": log, "ledger": str(tmp_path / "spend.db"), "day_zero_rate": 1.0, "sample_rate": 0.0}
    with Cascade.load(home, lambda text: "account", **settings) as cascade:
        assert cascade.classify("who changed my password?").source == "teacher"
    (decision,) = DecisionLog(log).read_decisions()
    assert decision.sampled
    assert decision.epoch == "day zero 1"


def test_it_never_takes_the_place_of_a_model_that_serves(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--from-taxonomy", "--data", str(SUPPORT), "--models", str(home.parent)]) == 2
    assert "already: --from-taxonomy is for a model that has none" in capsys.readouterr().err


def test_bare_names_do_and_a_model_is_trained_over_it(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    path = tmp_path / "tiny" / "taxonomy.toml"
    path.write_text(TAXONOMY.to_toml())
    given = ["--base", str(tiny_base), "--models", str(tmp_path / "models")]
    assert train.main(["--from-taxonomy", "--data", str(path), *given]) == 0
    first = resolve(tmp_path / "models" / "tiny")
    assert train.main(["--data", str(tiny_data), "--epochs", "1", *given]) == 0
    assert resolve(tmp_path / "models" / "tiny") != first


def test_without_a_taxonomy_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(["--from-taxonomy", "--data", str(tmp_path), "--models", str(tmp_path / "models")]) == 2
    assert "--from-taxonomy needs a taxonomy" in capsys.readouterr().err


def test_an_intent_is_its_phrases_and_examples_or_else_its_name() -> None:
    intent = Intent("a_b", "Money. Charges, refunds; tax", ("why did you take 3 twice", " "))
    assert texts_of(intent) == [["Money.", "Charges", "refunds;"], ["why did you take 3 twice"]]
    assert texts_of(Taxonomy.of(["reset_password", "b"]).intents[1]) == [["reset password"]]
