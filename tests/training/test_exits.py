from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.manifest import Certificate
from inference.classifier import Classifier
from tests.early import CERTIFICATES, add_exit
from tests.tiny import tiny_rows
from training.data.rows import Row
from training.evaluation.calibrate import reference, serving
from training.evaluation.certificate import RULES_ALONE, certify, thresholds_to_test
from training.evaluation.certified import certified, with_exits
from training.evaluation.exits import FEWEST_ROWS, EarlyAnswers, accepted_at, answers_of_exit, exit_threshold
from training.evaluation.scored import score, serve

N = 1000
SURE = np.linspace(1, 0.001, N)  # the exit's confidence, row by row
RIGHT = np.ones(N, bool)
STUDENT = np.full(N, 0.9)


def taken(early: EarlyAnswers, scores: np.ndarray = STUDENT, right: np.ndarray = RIGHT, target: float = 0.95) -> int:
    threshold = exit_threshold(early, scores, right, target)
    return 0 if threshold is None else int((early.confidence > threshold).sum())


def wrong_from(place: int) -> np.ndarray:
    return np.arange(N) < place


def test_an_exit_that_is_always_right_takes_everything() -> None:
    assert taken(EarlyAnswers(SURE, RIGHT)) == N


def test_it_stops_where_its_own_mistakes_begin() -> None:
    assert 600 <= taken(EarlyAnswers(SURE, wrong_from(600))) <= 605


def test_mistakes_that_the_student_makes_too_cost_nothing_until_the_target_forbids_them() -> None:
    rare = np.arange(N) % 200 != 3
    assert taken(EarlyAnswers(SURE, rare), right=rare) == N
    assert taken(EarlyAnswers(SURE, rare)) < N
    assert taken(EarlyAnswers(SURE, rare), right=rare, target=0.99) == 0


def test_an_exit_that_takes_hardly_anything_is_not_worth_it() -> None:
    assert taken(EarlyAnswers(SURE, wrong_from(50))) == 0


def test_few_rows_cannot_tell_what_it_costs() -> None:
    few = FEWEST_ROWS - 1
    assert exit_threshold(EarlyAnswers(SURE[:few], RIGHT[:few]), STUDENT[:few], RIGHT[:few], 0.95) is None
    enough = FEWEST_ROWS
    assert (
        exit_threshold(EarlyAnswers(SURE[:enough], RIGHT[:enough]), STUDENT[:enough], RIGHT[:enough], 0.90) is not None
    )


def test_rows_that_a_rule_answers_or_that_it_must_not_answer_do_not_count() -> None:
    ruled = np.where(np.arange(N) < 500, np.inf, 0.9)
    half_wrong = np.arange(N) >= 500
    assert taken(EarlyAnswers(SURE, half_wrong), ruled) == N  # where the rules answer its mistakes are nobody's
    barred = np.where(np.arange(N) < 500, -np.inf, SURE)
    assert taken(EarlyAnswers(barred, half_wrong)) == 500


@given(st.integers(0, 2**32 - 1))
def test_what_is_taken_keeps_to_both_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = rng.random(N).round(2)  # with ties
    correct, right = rng.random(N) < 0.8 + 0.2 * confidence, rng.random(N) < 0.97
    early, scores = EarlyAnswers(confidence, correct), rng.random(N)
    threshold = exit_threshold(early, scores, right, 0.95)
    if threshold is None:
        return
    exits = confidence > threshold
    assert (~correct[exits]).mean() < 0.05 / 2
    student_errs = accepted_at(scores, right, 0.95) & ~right
    assert (exits & ~correct).sum() - (exits & student_errs).sum() <= 0.005 * N


def test_the_student_accepts_what_keeps_these_rows_at_the_target() -> None:
    scores, right = np.array([0.9, 0.8, 0.7, 0.6, -np.inf]), np.array([True, False, True, True, True])
    assert accepted_at(scores, right, 0.75).tolist() == [True, True, True, True, False]
    assert accepted_at(scores, right, 0.95).tolist() == [True, False, False, False, False]
    assert not accepted_at(scores, ~right, 0.95).any()


# With a classifier.


@pytest.fixture(scope="module")
def early(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    home = add_exit(tiny_home, tmp_path_factory.mktemp("exits") / "tiny")
    return Classifier.load(home, 0.90)


ROWS = [Row(str(i), row["text"], row["label"]) for i, row in enumerate(tiny_rows())]


def test_its_answers_are_the_classifiers_own_and_none_is_of_a_barred_intent(early: Classifier) -> None:
    scored = score(early, ROWS[:40])
    found = answers_of_exit(early, scored)
    for row, confidence in zip(ROWS[:40], found.confidence, strict=True):
        shares = early.exit_probabilities(row.text)
        assert confidence == (-np.inf if shares is None else shares.max())
    barred = early.at(0.90, replace(early.bundle.manifest, never_accepted=early.labels))
    assert (answers_of_exit(barred, scored).confidence == -np.inf).all()


def test_what_the_exit_answers_is_served_at_a_score_above_all(early: Classifier) -> None:
    served = serve(early, score(early, ROWS[:40]))
    answers = early.predict_many([row.text for row in ROWS[:40]])
    assert "exit" in {answer.source for answer in answers}
    assert (served.scores == np.inf).tolist() == [answer.source == "exit" for answer in answers]
    assert served.accepted.tolist() == [answer.accepted for answer in answers]


def test_the_certificate_is_that_of_exit_and_student_together(early: Classifier) -> None:
    strictest = Certificate(0.90, 0.05, RULES_ALONE)
    strict = early.at(0.90, replace(early.bundle.manifest, certificates=(strictest,), target=0.90))
    dev, calibration = score(strict, ROWS[:220]), score(strict, ROWS[220:])
    answers = answers_of_exit(strict, dev)
    parts = serving(strict, dev), serving(strict, calibration)
    [found] = certified(with_exits(strict.bundle.manifest, answers, parts[0]), *parts).certificates
    alone = serve(strict, dev)
    assert found.exit_above == exit_threshold(answers, alone.scores, alone.correct, 0.90)
    assert found.exit_above is not None
    both = early.at(0.90, replace(early.bundle.manifest, certificates=(found,)))
    order, sample = serve(both, dev), serve(both, calibration)
    expected = certify(thresholds_to_test(order.scores, order.correct, 0.90), sample.scores, sample.correct, 0.90, 0.05)
    assert replace(found, exit_above=None) == expected
    assert found.coverage == sample.coverage


def test_drift_is_measured_against_exit_and_student_as_they_answer(early: Classifier) -> None:
    scored = score(early, ROWS[:40])
    found = reference(early, scored)
    answers = early.predict_many([row.text for row in ROWS[:40]])
    assert sum(found["confidence_histogram"]) == 40
    assert found["intent_mix"] == {
        name: sum(answer.intent == name for answer in answers) for name in {answer.intent for answer in answers}
    }
    assert CERTIFICATES[0].exit_above is not None
