import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.manifest import (
    SCHEMA,
    TAXONOMY,
    Bundle,
    BundleError,
    IntentCertificate,
    Manifest,
    read_manifest,
    seal,
)
from inference.bundle.taxonomy import Rule
from inference.classifier import Classifier
from tests.ruled import add_rules
from tests.tiny import tiny_rows
from training.data import dataset
from training.data.dataset import Dataset
from training.data.rows import Row
from training.evaluation.calibrate import calibrated
from training.evaluation.card import card_text, own_target
from training.evaluation.certificate import Sample, certify, certify_intent, lacking
from training.evaluation.report import report
from training.evaluation.scored import score, serve

OWN = {"unknown": 0.90, "account": 0.99}


def samples(seed: int, ways: int) -> list[Sample]:
    """One sample as it is answered in several ways: some rows are another intent's in some."""
    rng = np.random.default_rng(seed)
    scores = rng.beta(4, 1, 300)
    correct = rng.random(300) < 1 - (1 - scores) ** 1.5
    return [(np.where(rng.random(300) < 0.1 * way, -np.inf, scores), correct) for way in range(ways)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.8, 0.9, 0.95]))
def test_a_threshold_passes_only_where_it_does_in_every_way(seed: int, ways: int, target: float) -> None:
    order = [0.98, 0.9, 0.8, 0.6, 0.3, 0.0]
    found = samples(seed, ways)
    alone = [certify(order, *sample, target, 0.05).accept_above for sample in found]
    strictest = None if None in alone else max(one for one in alone if one is not None)
    assert certify_intent("a", order, found, target, 0.05).accept_above == strictest


@given(st.integers(0, 9), st.integers(0, 300), st.sampled_from([0.8, 0.95, 0.99]), st.sampled_from([0.001, 0.02]))
def test_what_is_lacking_would_just_do(errors: int, right: int, target: float, delta: float) -> None:
    def certified(more: int) -> bool:
        correct = np.array([False] * errors + [True] * (right + more), bool)
        return certify([0.0], np.full(len(correct), 0.5), correct, target, delta).accept_above is not None

    if not certified(0):
        more = lacking(errors, errors + right, target, delta)
        assert certified(more)
        assert not certified(more - 1)


def test_a_target_of_99_percent_needs_some_440_right_answers() -> None:
    none = certify_intent("fraud", [], [(np.full(80, -np.inf), np.ones(80, bool))], 0.99, 0.0125)
    assert (none.accept_above, none.named, none.lacks) == (None, 0, 437)
    few = certify_intent("fraud", [0.5], [(np.full(80, 0.9), np.ones(80, bool))], 0.99, 0.0125)
    assert (few.named, few.lacks) == (80, 357)
    late = certify_intent("fraud", [1.0, 0.5], [(np.full(80, 0.9), np.ones(80, bool))], 0.99, 0.0125)
    assert late.lacks == 357, "though the first threshold accepts nothing"


# With a classifier.


@pytest.fixture(scope="module")
def draft(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """The tiny student with a rule for an intent that has a target of its own, and no certificate yet."""
    rule = Rule("0.99", "unknown", ("sonnet", "volcano", "trumpet", "comet", "pancake", "glacier", "chess opening"))
    home = add_rules(tiny_home, tmp_path_factory.mktemp("own") / "tiny", rule, certificates=())
    bundle = Bundle.load(home)
    intents = tuple(replace(one, target=OWN.get(one.name)) for one in bundle.taxonomy.intents)
    taxonomy = replace(bundle.taxonomy, intents=intents)
    return Classifier(replace(bundle, taxonomy=taxonomy, manifest=replace(bundle.manifest, rules=())))


@pytest.fixture(scope="module")
def data(draft: Classifier, tiny_data: Path) -> Dataset:
    return replace(dataset.load(str(tiny_data)), taxonomy=draft.bundle.taxonomy)


@pytest.fixture(scope="module")
def made(draft: Classifier, data: Dataset) -> Manifest:
    return calibrated(draft, data, 0.90, 0.5)[0]


def test_delta_is_shared_by_the_intents_and_the_pooled_certificates(made: Manifest) -> None:
    assert {one.intent: one.target for one in made.intents} == OWN
    assert [one.delta for one in made.intents] == [0.5 / 3, 0.5 / 3]
    assert sum(one.delta for one in made.certificates) == pytest.approx(0.5 / 3)
    assert made.schema == SCHEMA


def test_an_intent_is_accepted_above_its_own_threshold_whichever_certificate_serves(
    draft: Classifier, data: Dataset, made: Manifest
) -> None:
    own = {one.intent: one for one in made.intents}
    assert own["unknown"].accept_above is not None
    assert (own["account"].accept_above, own["account"].lacks > 0) == (None, True)
    calibration = [row.text for row in data.trials("calibration")]
    for target in (one.target for one in made.certificates):
        answers = draft.at(target, made).predict_many(calibration)
        mine = [answer for answer in answers if answer.intent == "unknown"]
        assert [answer.accepted for answer in mine] == [
            answer.source == "rules" or answer.confidence > own["unknown"].accept_above for answer in mine
        ]
        assert not any(answer.accepted for answer in answers if answer.intent == "account")
        assert {answer.source for answer in mine} == {"rules", "student"}
        assert len(mine) == own["unknown"].named
        assert sum(answer.accepted for answer in mine) == own["unknown"].accepted


def test_the_pooled_certificates_are_about_the_other_answers(draft: Classifier, data: Dataset, made: Manifest) -> None:
    rows = data.trials("calibration")
    pooled = next(one for one in made.certificates if one.target == 0.90)
    answers = draft.at(0.90, made).predict_many([row.text for row in rows])
    others = [answer for answer in answers if answer.accepted and answer.intent == "payments"]
    assert len(others) == pooled.accepted > 0
    assert pooled.coverage == pytest.approx(len(others) / len(rows))


def test_where_nothing_calibrates_they_are_never_accepted_and_all_is_lacking(draft: Classifier, data: Dataset) -> None:
    rows = tuple(row for row in data.rows if row.split != "calibration")
    manifest, _ = calibrated(draft, replace(data, rows=rows), 0.95, 0.0)
    assert all(one.accept_above is None and one.lacks > 20 for one in manifest.intents)
    assert not any(answer.accepted for answer in draft.at(0.95, manifest).predict_many(["stop the zebra", "the login"]))


def test_the_card_and_the_summary_say_what_each_of_them_has(draft: Classifier, data: Dataset, made: Manifest) -> None:
    classifier = draft.at(0.90, made)
    found = report(classifier, score(classifier, data.split("test")))
    unknown, account = sorted(found["intent_certificates"], key=lambda one: str(one["intent"]), reverse=True)
    assert 0 < unknown["test_coverage"] < found["per_intent"]["unknown"]["support"] / found["rows"] + 0.1
    assert own_target(unknown).startswith(f"accepts {unknown['accepted']} of {unknown['named']} calibration answers")
    assert f"not certified, never accepted: {account['named']} calibration" in own_target(account)
    shipped = json.loads((draft.bundle.root / "report.json").read_text())
    described = replace(made, base=draft.bundle.manifest.base, lineage=draft.bundle.manifest.lineage)
    card = card_text(described, shipped | found)
    assert "## Intents with a target of their own" in card
    assert f"| account | 99.0% | – | {own_target(account)} |" in card
    assert "with an intent that has no target of its own" in card
    assert "its own certificate" not in card_text(described, shipped | found | {"intent_certificates": []})


def test_a_sealed_bundle_keeps_its_intents_certificates_and_refuses_altered_ones(
    draft: Classifier, made: Manifest, tmp_path: Path
) -> None:
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((draft.bundle.root / name).read_bytes())
    (tmp_path / TAXONOMY).write_text(draft.bundle.taxonomy.to_toml(), encoding="utf-8")
    seal(tmp_path, made)
    assert Bundle.load(tmp_path).manifest.intents == made.intents
    other = Classifier.load(tmp_path, 0.97)
    assert other.predict("find the sonnet").accepted
    text = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(text.replace('"schema": 4', '"schema": 3'))
    with pytest.raises(BundleError, match="unknown field intents"):
        read_manifest(tmp_path)
    strangers = replace(made, intents=(IntentCertificate(0.9, 0.1, 0.5, intent="weather"),))
    (tmp_path / "manifest.json").write_text(strangers.to_json())
    with pytest.raises(BundleError, match="intents must be labels"):
        read_manifest(tmp_path)


def test_a_bundle_without_such_intents_is_one_that_earlier_versions_read(draft: Classifier, data: Dataset) -> None:
    taxonomy = replace(data.taxonomy, intents=tuple(replace(one, target=None) for one in data.taxonomy.intents))
    plain = Classifier(replace(draft.bundle, taxonomy=taxonomy))
    manifest, _ = calibrated(plain, replace(data, taxonomy=taxonomy), 0.95, 0.5)
    values = json.loads(manifest.to_json())
    assert values["schema"] == 3
    assert "intents" not in values
    assert manifest.intents == ()
    assert sum(one.delta for one in manifest.certificates) == pytest.approx(0.5)


def test_answers_without_some_intents_and_with_one_alone(draft: Classifier, made: Manifest) -> None:
    classifier = draft.at(0.90, made)
    rows = [Row(str(i), row["text"], row["label"]) for i, row in enumerate(tiny_rows()[:60])]
    served = serve(classifier, score(classifier, rows))
    mine, others = served.naming(["unknown"]), served.beside(["unknown"])
    assert (mine.accepted | others.accepted).tolist() == served.accepted.tolist()
    assert not (mine.accepted & others.accepted).any()
    assert ((mine.scores == -np.inf) == (np.array(served.intents) != "unknown")).all()
    assert served.beside([]) is served
