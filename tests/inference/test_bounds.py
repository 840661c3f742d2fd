import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.bounds import Bounds
from inference.bundle.manifest import Bundle, Certificate, IntentCertificate, Manifest
from inference.bundle.rules import MeasuredRule
from inference.bundle.taxonomy import Intent, Rule, Taxonomy

POOLED = Certificate(0.95, 0.01, 0.6, exit_above=0.9)
FRAUD = IntentCertificate(0.99, 0.01, 0.8, exit_above=0.97, intent="fraud")
RULES = (Rule("payments", "payments", ("pay",)), Rule("fraud", "fraud", ("stolen",)))


def bundle(*intents: IntentCertificate, never: tuple[str, ...] = (), confidence: float = 0.98) -> Bundle:
    """A made-up bundle where fraud has a target of 0.99."""
    taxonomy = Taxonomy((Intent("fraud", target=0.99), Intent("payments"), Intent("other")), rules=RULES)
    measured = tuple(MeasuredRule(rule.name, rule.intent, 50, 50, confidence) for rule in RULES)
    manifest = Manifest(taxonomy.names, 64, intents=intents, never_accepted=never, rules=measured)
    return Bundle(Path(), manifest, taxonomy, b"", b"")


def names(found: Bounds, of: Bundle, target: float = 0.95) -> set[str]:
    """The intents whose rules run."""
    rules = found.rules(of, target)
    fired = [rules.match(text) for text in ("pay", "stolen")] if rules else []
    return {rule.intent for rule in fired if rule}


def test_an_intent_with_a_target_of_its_own_has_its_own_bounds_and_the_others_the_pooled_ones() -> None:
    found = Bounds.of(bundle(FRAUD), POOLED)
    assert found.accept == (0.8, 0.6, 0.6)
    assert found.exit == (0.97, 0.9, 0.9)
    assert found.barred == frozenset()


@given(st.sampled_from([None, 0.5, 0.9]), st.sampled_from([None, 0.4, 0.99]))
def test_its_bounds_do_not_depend_on_the_certificate_that_serves_beside_it(
    above: float | None, exit_above: float | None
) -> None:
    found = Bounds.of(bundle(FRAUD), Certificate(0.9, 0.01, above, exit_above=exit_above))
    assert found.exit is not None
    assert (found.accept[0], found.exit[0]) == (0.8, 0.97)
    assert ("payments" in found.barred) == (above is None)
    assert (found.exit[1] < math.inf) == (above is not None and exit_above is not None)


def test_where_it_is_not_certified_it_is_barred_and_the_same_part_still_answers() -> None:
    failed = IntentCertificate(0.99, 0.01, None, exit_above=0.97, intent="fraud", lacks=300)
    found = Bounds.of(bundle(failed), POOLED)
    assert found.accept == (math.inf, 0.6, 0.6)
    assert found.exit == (0.97, 0.9, 0.9)
    assert found.barred == {"fraud"}


def test_an_intent_with_a_target_and_without_a_certificate_is_never_accepted() -> None:
    found = Bounds.of(bundle(), POOLED)
    assert found.accept[0] == math.inf
    assert found.exit == (math.inf, 0.9, 0.9)
    assert found.barred == {"fraud"}


def test_what_is_never_accepted_is_neither_accepted_nor_answered_by_the_exit() -> None:
    found = Bounds.of(bundle(FRAUD, never=("fraud", "other")), POOLED)
    assert found.accept == (math.inf, 0.6, math.inf)
    assert found.exit == (math.inf, 0.9, math.inf)


def test_a_rule_answers_where_its_confidence_reaches_the_target_of_its_intent() -> None:
    strict, loose = FRAUD, IntentCertificate(0.90, 0.01, 0.8, intent="fraud")
    for own, confidence, expected in (
        (strict, 0.98, {"payments"}),
        (strict, 0.995, {"payments", "fraud"}),
        (loose, 0.92, {"fraud"}),
    ):
        of = bundle(own, confidence=confidence)
        assert names(Bounds.of(of, POOLED), of) == expected
    of = bundle(loose)
    assert names(Bounds.of(of, None), of) == {"fraud"}, "the other rules have no certificate"


def test_without_any_certificate_nothing_is_accepted_and_neither_rule_nor_exit_runs() -> None:
    of = bundle()
    found = Bounds.of(of, None)
    assert (set(found.accept), found.exit, found.rules(of, 0.95)) == ({math.inf}, None, None)
