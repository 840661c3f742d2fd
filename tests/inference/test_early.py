"""A bundle with an exit, as an application sees it."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import Bundle, Cascade, Classifier
from inference.bundle.manifest import EXIT, MANIFEST, BundleError, Certificate, resolve, seal
from inference.bundle.taxonomy import Rule
from inference.classifier import AT_ONCE
from inference.log.audits import Audited
from inference.log.thresholds import Thresholds
from tests.early import CERTIFICATES, add_exit
from tests.ruled import add_rules

EASY, NEW = "stop the invoice please", "qxzv grmbl wollt ihr nicht etwa fjord"
WORDS = st.lists(st.sampled_from(["stop", "the", "invoice", "login", "zebra", "grmbl", "fjord"]), max_size=8).map(
    " ".join
)


@pytest.fixture(scope="module")
def home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return add_exit(tiny_home, tmp_path_factory.mktemp("early") / "tiny")


@pytest.fixture(scope="module")
def early(home: Path) -> Classifier:
    return Classifier.load(home, 0.90)


def test_an_easy_text_is_answered_by_the_exit_and_a_new_one_by_the_student(early: Classifier) -> None:
    answer = early.predict(EASY)
    shares = early.exit_probabilities(EASY)
    assert shares is not None
    assert (answer.source, answer.intent, answer.accepted) == ("exit", "payments", True)
    assert answer.confidence == shares.max() > 0.6
    assert len(answer.alternatives) == 2
    assert early.exit_probabilities(NEW) is None
    assert early.predict(NEW).source == "student"


def test_the_student_does_not_run_where_the_exit_answers(home: Path) -> None:
    classifier = Classifier.load(home, 0.90)
    expected = classifier.predict(EASY)
    del classifier._engine.session  # type: ignore[union-attr]
    assert classifier.predict(EASY) == expected
    with pytest.raises(AttributeError):
        classifier.predict(NEW)


def test_the_exit_answers_strictly_above_its_threshold(early: Classifier) -> None:
    confidence = early.predict(EASY).confidence
    for threshold, source in ((np.nextafter(confidence, 0), "exit"), (confidence, "student")):
        certificate = replace(CERTIFICATES[0], exit_above=float(threshold))
        at = early.at(0.90, replace(early.bundle.manifest, certificates=(certificate,)))
        assert at.predict(EASY).source == source


def test_without_a_certified_threshold_nobody_asks_the_exit(early: Classifier) -> None:
    assert early.at(0.95).predict(EASY).source == "student"
    nothing = replace(CERTIFICATES[0], accept_above=None)
    at = early.at(0.90, replace(early.bundle.manifest, certificates=(nothing,)))
    assert (at.predict(EASY).source, at.predict(EASY).accepted) == ("student", False)


def test_an_intent_that_is_never_accepted_is_left_to_the_student(early: Classifier) -> None:
    barred = early.at(0.90, replace(early.bundle.manifest, never_accepted=("payments",)))
    assert barred.predict(EASY).source == "student"


def test_a_certified_rule_answers_before_the_exit(home: Path, tmp_path: Path) -> None:
    ruled = add_rules(home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)), certificates=CERTIFICATES)
    assert Classifier.load(ruled, 0.90).predict(EASY).source == "rules"


@settings(max_examples=60, deadline=None)
@given(text=WORDS | st.text(max_size=40))
def test_what_is_decided_of_known_probabilities_is_what_is_predicted(early: Classifier, text: str) -> None:
    answer, scores = early.predict(text), early.probabilities(text)
    assert early.decide(text, scores) == answer == early.predict_many([text, EASY])[0]
    assert early.best_guess(text) == (early.labels[int(scores.argmax())], scores.max())


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(WORDS | st.text(max_size=40) | st.sampled_from([EASY, NEW, ""]), max_size=12))
def test_several_texts_get_exactly_the_answers_of_each(early: Classifier, texts: list[str]) -> None:
    assert early.predict_many(texts) == [early.predict(text) for text in texts]


def test_more_texts_than_the_exit_takes_at_once_keep_their_order(early: Classifier) -> None:
    texts = [f"{word} {i}" for i in range(AT_ONCE) for word in (EASY, NEW)]
    assert early.predict_many(texts) == [early.predict(text) for text in texts]


def test_the_exit_travels_with_a_pickled_classifier_and_through_a_fork(early: Classifier) -> None:
    expected = early.predict(EASY)
    assert pickle.loads(pickle.dumps(early)).predict(EASY) == expected
    child = os.fork()
    if not child:
        os._exit(0 if early.predict(EASY) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_cascade_answers_and_keeps_what_the_exit_says(home: Path) -> None:
    with Cascade.load(home, target=0.90, deferral="never", log="none") as cascade:
        first, again = cascade.classify(EASY), cascade.classify(EASY)
    assert (first.source, first.accepted, first.cached) == ("exit", True, False)
    assert (again.source, again.accepted, again.cached) == ("exit", True, True)


def test_an_answer_of_the_exit_keeps_a_target_at_which_the_exit_would_give_it(home: Path, tmp_path: Path) -> None:
    ladder = (
        Certificate(0.90, 0.01, 0.5, exit_above=0.6),
        Certificate(0.95, 0.01, 0.5, exit_above=0.8),
        Certificate(0.97, 0.01, 0.5),
    )
    copy = add_rules(home, tmp_path / "tiny", certificates=ladder)
    bundle_id = Bundle.load(copy).manifest.bundle_id
    root = resolve(copy)
    root.rename(root.with_name(f"{root.name.partition('-')[0]}-{bundle_id[:8]}"))
    answer = Audited(0.0, bundle_id, "payments", 0.7, "exit", True)
    found = Thresholds(copy)
    assert [found.keeps(answer, target) for target in (0.90, 0.95, 0.97, 0.99)] == [True, False, False, False]
    assert found.keeps(answer._replace(source="student"), 0.97)


# The files.


def test_a_bundle_whose_certificate_needs_an_exit_must_list_one(home: Path, tmp_path: Path) -> None:
    root = resolve(add_rules(home, tmp_path / "tiny", certificates=CERTIFICATES))
    (root / EXIT).unlink()
    seal(root, replace(Bundle.load(home).manifest, certificates=CERTIFICATES))
    with pytest.raises(BundleError, match=r"does not list exit\.npz"):
        Classifier.load(root)


def test_an_exit_of_another_model_is_refused(home: Path, tmp_path: Path) -> None:
    root = resolve(add_rules(home, tmp_path / "tiny", certificates=CERTIFICATES))
    (root / EXIT).write_bytes(b"something else")
    seal(root, Bundle.load(home).manifest)
    with pytest.raises(BundleError, match=r"exit\.npz cannot be loaded"):
        Classifier.load(root)


def test_a_certificate_of_an_earlier_schema_has_no_exit(home: Path, tmp_path: Path) -> None:
    root = resolve(add_rules(home, tmp_path / "tiny", certificates=CERTIFICATES))
    manifest = json.loads((root / MANIFEST).read_text())
    (root / MANIFEST).write_text(json.dumps(manifest | {"schema": 2}))
    with pytest.raises(BundleError, match="exit_above, which came with schema 3"):
        Bundle.load(root)


def test_a_bundle_of_schema_2_keeps_its_id(tiny_home: Path) -> None:
    old = replace(Bundle.load(tiny_home).manifest, schema=2)
    assert "exit_above" not in old.to_json()
    assert old.bundle_id != replace(old, schema=3).bundle_id
