from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import CURRENT, IntentCertificate, read_manifest, seal
from inference.bundle.redact import redactor_id
from inference.bundle.taxonomy import Rule
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.serving.policy import Policy
from inference.serving.tier import Guess, Tier
from tests.ruled import CERTIFICATES, add_own_target, add_rules

ANY_TEXT = st.text(max_size=80) | st.text(st.characters(), max_size=40)
WORDS = st.lists(st.sampled_from(["stop", "the", "invoice", "open", "zebra", "j@x.org", "\t"]), max_size=8).map(
    " ".join
)


@pytest.fixture(scope="module")
def homes(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tiny bundle without rules, and with one rule certified at 95 % and one only earned."""
    folder = tmp_path_factory.mktemp("ruled")
    rules = Rule("0.96", "account", ("stop", "x")), Rule("0.85", "unknown", ("open",))
    return {
        "no rules": add_rules(tiny_home, folder / "plain"),
        "rules": add_rules(tiny_home, folder / "rules", *rules),
    }


def tier(home: Path, strategy: str, target: float = 0.95) -> Tier:
    return Tier(home, Policy(strategy=strategy, target=target), None)


def test_local_first_answers_by_certified_rules_and_student(homes: dict[str, Path]) -> None:
    local, student = tier(homes["rules"], "local-first"), Classifier.load(homes["no rules"])
    assert local.guess("stop the invoice") == Guess("account", 0.96, True, "rules")
    intent, confidence = student.best_guess("open the invoice")
    accepted = student.predict("open the invoice").accepted
    assert local.guess("open the invoice") == Guess(intent, confidence, accepted, "student" if accepted else "fallback")


def test_local_first_answers_nothing_where_nothing_is_certified(homes: dict[str, Path]) -> None:
    student = Classifier.load(homes["no rules"])
    guess = tier(homes["rules"], "local-first", target=0.97).guess("stop the invoice")
    assert guess == Guess(*student.best_guess("stop the invoice"), False, "fallback")


def test_hybrid_answers_by_earned_rules_whatever_is_certified(homes: dict[str, Path]) -> None:
    student = Classifier.load(homes["no rules"])
    for target in (0.90, 0.95, 0.97):
        hybrid = tier(homes["rules"], "hybrid", target)
        assert hybrid.guess("stop the invoice") == Guess("account", 0.96, True, "rules")
        assert hybrid.guess("open the invoice") == Guess("unknown", 0.85, True, "rules")
        assert hybrid.guess("the invoice") == Guess(*student.best_guess("the invoice"), False, "fallback")


@pytest.mark.parametrize("text", ["stop the invoice", "open the invoice", "the invoice"])
def test_tiered_only_ever_guesses_by_the_student(homes: dict[str, Path], text: str) -> None:
    expected = Guess(*Classifier.load(homes["no rules"]).best_guess(text), False, "fallback")
    assert tier(homes["rules"], "tiered").guess(text) == expected


@pytest.fixture(scope="module")
def pairs(homes: dict[str, Path]) -> Iterator[list[tuple[Classifier, Cascade]]]:
    """A classifier and a cascade without a teacher, for each bundle at several targets."""
    cases = [(homes["no rules"], 0.90), *((homes["rules"], certificate.target) for certificate in CERTIFICATES)]
    cascades = [Cascade.load(home, target=target, log="none", cache_size=0) for home, target in cases]
    yield [(Classifier.load(home, target), cascade) for (home, target), cascade in zip(cases, cascades, strict=True)]
    for cascade in cascades:
        cascade.close()


@settings(max_examples=40, deadline=None)
@given(text=ANY_TEXT | WORDS)
def test_classifier_and_cascade_accept_the_same_with_the_same_answer(
    pairs: list[tuple[Classifier, Cascade]], text: str
) -> None:
    for classifier, cascade in pairs:
        prediction, answer = classifier.predict(text), cascade.classify(text)
        assert (answer.intent, answer.confidence, answer.accepted) == (
            prediction.intent,
            prediction.confidence,
            prediction.accepted,
        )
        assert answer.source == (prediction.source if prediction.accepted else "fallback")


OWN = IntentCertificate(0.99, 0.01, 0.5, intent="account")


def test_where_nothing_may_be_accepted_an_intent_with_a_target_of_its_own_is_not_either(
    homes: dict[str, Path], tmp_path: Path
) -> None:
    found = tier(add_own_target(homes["no rules"], tmp_path / "own", OWN), "local-first", target=0.97)
    assert found.guess("stop the password").accepted, "whatever the pooled certificate says"
    assert found.limited(0.90).guess("stop the password").accepted
    assert not found.limited(None).guess("stop the password").accepted
    assert not found.guess("stop the invoice").accepted


def test_hybrid_has_a_rule_reach_the_target_of_its_intent(homes: dict[str, Path], tmp_path: Path) -> None:
    strict = tier(add_own_target(homes["rules"], tmp_path / "own", OWN), "hybrid")
    assert strict.guess("stop the invoice").source == "fallback"
    assert strict.guess("open the invoice").source == "rules"


def test_a_bundle_certified_under_another_redaction_serves_and_says_so(
    homes: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = add_rules(homes["no rules"], tmp_path / "old")
    version = home / (home / CURRENT).read_text().strip()
    seal(version, replace(read_manifest(version), redactor="builtin:1:01234567"))
    with Cascade.load(home, log="none") as cascade:
        assert cascade.classify("check the invoice").intent
        assert "redaction builtin:1:01234567" in cascade.stats()["other_redaction"]
    assert sum("redaction builtin:1:01234567" in line for line in caplog.messages) == 1
    seal(version, replace(read_manifest(version), redactor=redactor_id("builtin")))
    with Cascade.load(home, log="none") as cascade:
        assert cascade.stats()["other_redaction"] is None
