from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import Bundle, Certificate
from inference.bundle.taxonomy import Rule
from inference.classifier import Classifier
from tests.ruled import add_rules
from training.data import dataset
from training.data.rows import Row
from training.evaluation import report as evaluate
from training.evaluation.report import certified_on_test, challenge, gold_figures, out_of_scope_figures, risk_coverage
from training.evaluation.scored import Scored, Served, score


def scored(probabilities: list[list[float]], reference: list[int], gold: list[str | None] | None = None) -> Scored:
    labels = ("a", "b", "none")
    known = gold or [None] * len(reference)
    rows = tuple(Row(str(i), "x", labels[r], gold=g) for i, (r, g) in enumerate(zip(reference, known, strict=True)))
    return Scored(rows, labels, np.array(probabilities), np.array(reference))


FOUR = scored([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.4, 0.35, 0.25], [0.05, 0.05, 0.9]], [0, 1, 2, 2])


def test_risk_grows_from_the_surest_row_on() -> None:
    found = risk_coverage(np.array([0.9, 0.6, 0.8, 0.7]), np.array([True, False, True, True]))
    assert found["curve"] == [(0.25, 0.0), (0.5, 0.0), (0.75, 0.0), (1.0, 0.25)]
    assert found["area"] == pytest.approx(0.0625)


def test_out_of_scope_figures_tell_the_two_kinds_apart() -> None:
    found = out_of_scope_figures(FOUR, frozenset({"none"}))
    assert found == {
        "in_scope_rows": 2,
        "in_scope_accuracy": 1.0,
        "out_of_scope_rows": 2,
        "out_of_scope_recall": 0.5,
        "auroc": 1.0,
    }
    assert out_of_scope_figures(FOUR, frozenset()) == {}


def test_a_certificate_is_shown_beside_test() -> None:
    accepted = np.array([True, False, False, True])
    found = certified_on_test(Certificate(0.95, 0.01, 0.6), Served(FOUR.confidence, accepted, FOUR.correct))
    assert (found["target"], found["test_coverage"], found["test_agreement"]) == (0.95, 0.5, 1.0)
    nothing = Served(FOUR.confidence, np.zeros(4, bool), FOUR.correct)
    found = certified_on_test(Certificate(0.99, 0.01, None), nothing)
    assert (found["test_coverage"], found["test_agreement"]) == (0.0, None)


def test_rules_that_never_earned_an_answer_are_named(tiny_home: Path, tmp_path: Path) -> None:
    rules = Rule("0.96", "account", ("stop",)), Rule("0.80", "unknown", ("invoice",)), Rule("0.5", "unknown", ("x",))
    bundle = Bundle.load(add_rules(tiny_home, tmp_path / "tiny", *rules))
    found = evaluate.rule_figures(bundle, [Row("1", "stop", "payments")])
    assert found["unearned"] == ["0.80", "0.5"]
    assert [rule["confidence"] for rule in found["measured"]] == [0.96, 0.8, 0.5]
    assert found["test"][0] == {"name": "0.96", "intent": "account", "fired": 1, "right": 0, "confidence": 1 / 3}


def test_the_report_and_the_challenge_count_what_rules_answer(tiny_home: Path, tmp_path: Path) -> None:
    rules_alone = [Certificate(0.95, 0.01, 1.0), Certificate(0.97, 0.01, None)]
    rule = Rule("0.99", "unknown", ("stop", "check"))
    home = add_rules(tiny_home, tmp_path / "tiny", rule, certificates=rules_alone)
    texts = [f"{'stop' if i % 2 else 'open'} the login {i}" for i in range(40)]
    rows = [Row(text, text, "account", extra={"business": "gym"}) for text in texts]
    classifier = Classifier.load(home, 0.95)
    test = score(classifier, rows)
    found = challenge(classifier, test, ())["business: gym"]
    assert (found["coverage"], found["agreement"]) == (0.5, 0.0)
    assert found["accuracy"] > 0.5  # the student's own
    shown = [(c["test_coverage"], c["test_agreement"]) for c in evaluate.report(classifier, test)["certificates"]]
    assert shown == [(0.5, 0.0), (0.0, None)]


def test_gold_is_reported_for_student_and_teacher_where_it_is_known() -> None:
    with_gold = scored(FOUR.probabilities.tolist(), [0, 1, 2, 2], ["a", "a", None, "none"])
    assert gold_figures(with_gold) == pytest.approx({"gold_accuracy": 2 / 3, "teacher_gold_accuracy": 2 / 3})
    assert gold_figures(FOUR) == {}


def test_an_empty_split_is_refused(tiny_home) -> None:
    with pytest.raises(ValueError, match="no rows"):
        score(Classifier.load(tiny_home), [])


def test_the_report_of_the_bundle_is_what_the_classifier_does(tiny_home, tiny_data) -> None:
    classifier = Classifier.load(tiny_home)
    data = dataset.load(str(tiny_data))
    manifest = classifier.bundle.manifest
    report = evaluate.report(classifier, score(classifier, data.split("test")))
    right = [classifier.predict(row.text).intent == row.label for row in data.split("test")]
    assert report["accuracy"] == pytest.approx(np.mean(right)) == manifest.metrics["accuracy"]
    assert report["rows"] == len(right)
    assert np.sum(report["confusion"]) == len(right)
    assert set(report["per_intent"]) == set(manifest.labels)
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p95"]


def test_the_challenge_measures_slices_and_hurried_typing(tiny_home: Path, tiny_data: Path) -> None:
    classifier = Classifier.load(tiny_home, target=0.90)
    train = dataset.load(str(tiny_data)).split("train")
    rows = [replace(row, extra={"business": "gym" if i < 30 else "bank"}) for i, row in enumerate(train[:60])]
    found = challenge(classifier, score(classifier, rows), train)
    assert found["business: gym"]["rows"] == found["business: bank"]["rows"] == 30
    assert found["business: gym"]["accuracy"] > 0.9
    assert found["typos put in"]["rows"] == 60
    uncertified = classifier.at(0.90, replace(classifier.bundle.manifest, certificates=()))
    without = challenge(uncertified, score(classifier, rows), train)
    assert without["business: gym"]["coverage"] == 0.0
    assert without["business: gym"]["agreement"] is None
