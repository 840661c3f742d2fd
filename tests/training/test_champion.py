import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.manifest import SCHEMA, Certificate, IntentCertificate
from inference.bundle.taxonomy import Rule
from inference.classifier import Classifier
from tests.ruled import add_rules
from training.data import dataset
from training.data.rows import Row
from training.lifecycle.champion import Opponent, compare, latency_ratio


@pytest.fixture(scope="module")
def held_out(tiny_data: Path) -> list[Row]:
    return [row for row in dataset.load(str(tiny_data)).rows if row.split != "train"]


def test_without_a_champion_the_certificate_decides(tiny_home: Path, held_out: list[Row]) -> None:
    challenger = Classifier.load(tiny_home)
    known = {c.target: c.accept_above is not None for c in challenger.bundle.manifest.certificates}
    assert {target: compare(None, challenger, held_out, target).published for target in known} == known


def test_a_model_is_as_good_as_itself(tiny_home: Path, held_out: list[Row]) -> None:
    one, same = Classifier.load(tiny_home), Classifier.load(tiny_home)
    figures = compare(Opponent(one), same, held_out, 0.9).figures
    assert (figures["lost"], figures["won"], figures["size_ratio"]) == (0, 0, 1.0)
    assert figures["coverage"][0] == figures["coverage"][1] > 0
    assert figures["rows"] == len(held_out)


class Timed:
    """Takes as long for a text as it is told."""

    def __init__(self, seconds: Iterator[float]) -> None:
        self._seconds = seconds

    def probabilities(self, text: str) -> None:
        time.sleep(next(self._seconds))


def test_a_machine_that_is_slow_for_a_while_slows_both_sides() -> None:
    machine = itertools.chain([0.008] * 20, itertools.repeat(0.002))
    assert 0.7 < latency_ratio(Timed(machine), Timed(machine), ["a text"] * 30) < 1.4


def test_a_slower_model_is_slower_whatever_the_machine_does() -> None:
    fast, slow = itertools.repeat(0.002), itertools.repeat(0.008)
    assert latency_ratio(Timed(fast), Timed(slow), ["a text"] * 10) > 1.5


def test_what_the_two_accept_is_what_they_answer_at_the_target(tiny_home, held_out, tmp_path) -> None:
    alone = [Certificate(0.9, 0.01, 1.0)]  # no probability exceeds 1: the rules alone are accepted
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "payments", ("invoice",)), certificates=alone)
    ruled, plain = Classifier.load(home, 0.9), Classifier.load(tiny_home)
    invoices = sum("invoice" in row.text for row in held_out) / len(held_out)
    assert compare(Opponent(ruled), ruled, held_out, 0.9).figures["coverage"] == [invoices, invoices]
    assert compare(Opponent(ruled), plain, held_out, 0.95).figures["coverage"][0] == 0.0  # it has no such certificate
    assert not compare(Opponent(plain), ruled, held_out, 0.95).figures["certified"]


def test_rows_of_an_intent_that_one_does_not_know_are_left_out(tiny_home: Path, held_out: list[Row]) -> None:
    classifier = Classifier.load(tiny_home)
    stranger = Row(id="s", text="anything", label="new intent", labeler="human", split="test")
    assert compare(Opponent(classifier), classifier, [*held_out, stranger], 0.9).figures["rows"] == len(held_out)
    verdict = compare(Opponent(classifier), classifier, [stranger], 0.9)
    assert not verdict.published
    assert any("0 rows are too few" in reason for reason in verdict.reasons)


def test_a_version_of_before_a_renaming_is_right_under_the_new_names(tiny_home: Path, held_out: list[Row]) -> None:
    champion = Opponent(Classifier.load(tiny_home, 0.9), {"account": "access"})
    before = Opponent(champion.classifier)
    rows = [replace(row, label="access") if row.label == "account" else row for row in held_out]
    assert champion.right(champion.answers(rows)).tolist() == before.right(before.answers(held_out)).tolist()
    assert not Opponent(champion.classifier).right(champion.answers([rows[0], Row("n", "new", "orders")]))[1]


def own(classifier: Classifier, target: float | None, above: float | None) -> Classifier:
    """The same where "unknown" has a target of its own."""
    taxonomy = classifier.bundle.taxonomy
    intents = tuple(replace(one, target=target) if one.name == "unknown" else one for one in taxonomy.intents)
    found = (IntentCertificate(target, 0.01, above, intent="unknown"),) if target else ()
    manifest = replace(classifier.bundle.manifest, schema=SCHEMA, intents=found)
    return Classifier(replace(classifier.bundle, taxonomy=replace(taxonomy, intents=intents), manifest=manifest), 0.9)


def test_an_intent_whose_target_has_changed_may_be_accepted_less(tiny_home: Path, held_out: list[Row]) -> None:
    plain = Classifier.load(tiny_home, 0.9)
    strict = own(plain, 0.99, None)
    both = compare(Opponent(plain), strict, held_out, 0.9)
    assert both.figures["coverage"][0] == both.figures["coverage"][1] > 0
    assert not any("would accept" in reason for reason in both.reasons)
    unchanged = compare(Opponent(own(plain, 0.99, 0.1)), strict, held_out, 0.9)
    assert unchanged.figures["coverage"][0] > unchanged.figures["coverage"][1]


def test_the_pooled_promise_is_not_about_answers_with_a_target_of_their_own(
    tiny_home: Path, held_out: list[Row]
) -> None:
    champion = own(Classifier.load(tiny_home, 0.9), 0.6, 0.1)
    wrong = [replace(row, label="payments") if row.label == "unknown" else row for row in held_out]
    nothing = champion.at(0.9, replace(champion.bundle.manifest, certificates=()))
    told = compare(Opponent(champion), own(nothing, 0.6, None), wrong, 0.9).reasons
    assert any("would accept" in reason for reason in told), "its own answers are no sign that the promise is broken"
