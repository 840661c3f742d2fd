import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import DEFAULT_TARGET, TAXONOMY, Bundle, Certificate, resolve
from inference.bundle.rules import Rules
from inference.bundle.taxonomy import Rule
from inference.classifier import Classifier
from tests.ruled import add_rules
from training.data import dataset
from training.data.rows import Row
from training.evaluation import scored
from training.evaluation.calibrate import calibrated
from training.evaluation.certificate import TARGETS, certify, delta_shares, thresholds_to_test
from training.evaluation.report import report
from training.evaluation.scored import AT_ONCE, Scored, Served, said_by_student, score, serve

ROWS = [
    Row("1", "stop the invoice", "payments"),
    Row("2", "stop the login", "account"),
    Row("3", "an invoice", "payments"),
]


def test_a_rule_answers_first_at_a_score_above_all_and_the_rest_is_the_students(tiny_home, tmp_path) -> None:
    rules = Rule("0.96", "account", ("stop",)), Rule("0.90", "unknown", ("invoice",))
    alone = [Certificate(target, 0.01, 1.0) for target in (0.90, 0.95, 0.97)]
    classifier = Classifier.load(add_rules(tiny_home, tmp_path / "tiny", *rules, certificates=alone))
    scored = score(classifier, ROWS)
    assert scored.probabilities.tolist() == score(Classifier.load(tiny_home), ROWS).probabilities.tolist()
    loose, strict, none = (serve(classifier.at(target), scored) for target in (0.90, 0.95, 0.97))
    assert loose.scores.tolist() == [np.inf] * 3
    assert loose.correct.tolist() == [False, True, False]
    assert strict.scores.tolist() == [np.inf, np.inf, scored.confidence[2]]
    assert strict.accepted.tolist() == [True, True, False]
    assert strict.correct.tolist() == [False, True, scored.correct[2]]
    assert none.scores.tolist() == scored.confidence.tolist()
    assert (none.coverage, none.correct.tolist()) == (0.0, scored.correct.tolist())


def test_what_is_served_is_what_predict_says(tiny_home: Path, tmp_path: Path) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))
    for target in (0.90, 0.95, 0.97):
        classifier = Classifier.load(home, target)
        answers = classifier.predict_many([row.text for row in ROWS])
        served = serve(classifier, score(classifier, ROWS))
        assert served.accepted.tolist() == [answer.accepted for answer in answers]
        assert served.correct.tolist() == [
            answer.intent == row.label for answer, row in zip(answers, ROWS, strict=True)
        ]


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, 5 * AT_ONCE + 3])
def test_all_cores_say_of_each_text_what_one_says_in_the_same_order(tiny_home: Path, count: int) -> None:
    classifier = Classifier.load(tiny_home)
    texts = [f"{row.text} {i % 50}" for i, row in zip(range(count), itertools.cycle(ROWS))]
    said = said_by_student(classifier, texts, "scoring")
    assert said.tolist() == [classifier.probabilities(text).tolist() for text in texts]


@pytest.mark.parametrize(("count", "at_once"), [(200, 50), (3, 1), (5 * AT_ONCE, AT_ONCE)])
def test_every_core_has_some_of_few_texts(
    tiny_home: Path, monkeypatch: pytest.MonkeyPatch, count: int, at_once: int
) -> None:
    classifier, asked = Classifier.load(tiny_home), []

    def probabilities_of_many(texts: list[str]) -> np.ndarray:
        asked.append(len(texts))
        return np.zeros((len(texts), len(classifier.labels)))

    monkeypatch.setattr(scored, "cores", lambda: 4)
    monkeypatch.setattr(classifier, "probabilities_of_many", probabilities_of_many)
    assert said_by_student(classifier, ["a"] * count, "scoring").shape == (count, len(classifier.labels))
    assert max(asked) == at_once
    assert sum(asked) == count


def test_an_error_of_one_text_ends_the_scoring(tiny_home: Path) -> None:
    def redact(text: str) -> str:
        if text == "bad":
            raise OverflowError("no such text")
        return text

    with pytest.raises(OverflowError, match="no such text"):
        said_by_student(
            Classifier.load(tiny_home, redactor=redact), ["good"] * 100 + ["bad"] + ["good"] * 100, "scoring"
        )


def by_hand(scored: Scored, bundle: Bundle, target: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores and correctness as the promise is worded, without the classifier: the first rule that fires has inf."""
    rules = Rules.for_target(bundle.taxonomy, bundle.manifest.rules, target)
    fired = [rules.match(row.text) for row in scored.rows]
    right = [rule.intent == row.label if rule else None for rule, row in zip(fired, scored.rows, strict=True)]
    return (
        np.array([np.inf if rule else confidence for rule, confidence in zip(fired, scored.confidence, strict=True)]),
        np.array([own if r is None else r for r, own in zip(right, scored.correct, strict=True)]),
    )


def test_certificates_are_those_of_rules_and_student_worked_out_by_hand(tiny_home, tiny_data, tmp_path) -> None:
    data = dataset.load(str(tiny_data))
    rule = Rule(
        "money",
        "payments",
        ("invoice", "refund", "charge", "receipt", "discount", "plan price", "card fee", "billing date"),
    )
    data = replace(data, taxonomy=replace(data.taxonomy, rules=(rule,)))
    draft = shutil.copytree(resolve(tiny_home), tmp_path / "draft")
    (draft / TAXONOMY).write_text(data.taxonomy.to_toml())
    fresh = replace(Bundle.load(tiny_home).manifest, temperature=1.0, certificates=())
    classifier = Classifier(Bundle.draft(draft, fresh))
    manifest, _ = calibrated(classifier, data, DEFAULT_TARGET, delta=0.5)
    student = classifier.at(DEFAULT_TARGET, replace(manifest, certificates=()))
    dev, calibration = (score(student, data.trials(name)) for name in ("dev", "calibration"))
    parts = {t: [by_hand(part, student.bundle, t) for part in (dev, calibration)] for t in TARGETS}
    assert np.isinf(parts[0.90][1][0]).sum() > 10
    shares = delta_shares(0.5, DEFAULT_TARGET)
    expected = [certify(thresholds_to_test(*parts[t][0], t), *parts[t][1], t, shares[t]) for t in TARGETS]
    assert list(manifest.certificates) == expected
    assert any(found.accept_above is not None for found in expected)


def test_coverage_and_agreement_of_some_of_the_rows() -> None:
    accepted, correct = np.array([True, True, False, False]), np.array([True, False, True, False])
    served = Served(np.zeros(4), accepted, correct)
    assert (served.coverage, served.agreement) == (0.5, 0.5)
    assert (served.of([0, 2, 3]).coverage, served.of([0, 2, 3]).agreement) == (pytest.approx(1 / 3), 1.0)
    assert (served.of([2, 3]).coverage, served.of([2, 3]).agreement) == (0.0, None)
    assert Served(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool)).coverage == 0.0


def test_a_refused_request_is_wrong_where_it_is_accepted_and_in_no_accuracy(tiny_home: Path, tiny_data: Path) -> None:
    classifier = Classifier.load(tiny_home, 0.90)
    rows = dataset.load(str(tiny_data)).split("test")
    refused = Row("r", rows[0].text, "", split="test", request="r")
    scored = score(classifier, [*rows, refused])
    assert scored.reference[-1] == -1
    assert not scored.correct[-1]
    served = serve(classifier, scored)
    assert served.accepted[-1] == served.accepted[0]
    assert not served.correct[-1]
    assert scored.answered().rows == rows
    whole, without = report(classifier, scored), report(classifier, score(classifier, rows))
    for name in ("rows", "accuracy", "macro_f1", "per_intent", "confusion"):
        assert whole[name] == without[name]
    expected = float(served.correct[served.accepted].mean())
    assert next(c for c in whole["certificates"] if c["target"] == 0.90)["test_agreement"] == pytest.approx(expected)


def test_an_intent_that_is_never_accepted_has_a_score_below_every_threshold(tiny_home: Path) -> None:
    classifier = Classifier.load(tiny_home, 0.90)
    never = classifier.at(0.90, replace(classifier.bundle.manifest, never_accepted=("payments",)))
    scored = score(never, ROWS)
    served = serve(never, scored)
    named = scored.predicted == classifier.labels.index("payments")
    assert named.any()
    assert served.scores[named].tolist() == [-np.inf] * int(named.sum())
    assert not served.accepted[named].any()
    assert served.correct.tolist() == scored.correct.tolist()
