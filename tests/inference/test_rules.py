import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.rules import MeasuredRule, Rules, measure
from inference.bundle.taxonomy import Intent, Rule, Taxonomy

HUMAN = Rule("human", "tickets", ("speak to a human", "agent"))
REFUND = Rule("refund", "payments", ("refund", "money back"), none=("agent", "no refund"))
RESET = Rule("reset", "account", ("reset",), all=("password",))
TAXONOMY = Taxonomy(tuple(map(Intent, ("tickets", "payments", "account"))), rules=(HUMAN, REFUND, RESET))


def fires(rule: Rule, text: str) -> bool:
    return Rules([rule]).match(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "I want a refund",
        "REFUND!",
        "(refund)",
        "refund",
        "My Money\n\tback, now",
        "re: refund-request",
        "ask for ‘refund’",
    ],
)
def test_a_keyword_is_found_in_any_case_and_between_any_white_space(text: str) -> None:
    assert fires(REFUND, text)


@pytest.mark.parametrize("text", ["", "refunds", "prerefund", "refund_id", "moneyback", "money, back", "money is back"])
def test_a_keyword_is_a_whole_word_or_phrase(text: str) -> None:
    assert not fires(REFUND, text)


def test_all_must_be_there_and_none_must_not() -> None:
    assert fires(RESET, "how do I reset the password")
    assert not fires(RESET, "how do I reset the router")
    assert not fires(RESET, "password")
    assert fires(REFUND, "a refund please")
    assert not fires(REFUND, "let an agent do the refund")
    assert not fires(REFUND, "no refund needed")


@pytest.mark.parametrize(
    ("keyword", "text", "expected"),
    [
        ("c++", "is there a C++ client", True),
        ("c++", "c++17", True),
        ("straße", "Meine STRASSE", True),
        ("  money   back ", "money back", True),
        ("a.b", "axb", False),
        ("退款", "我要 退款", True),
        ("no no", "no no", True),
        ("no no yes", "no no no yes", True),
    ],
)
def test_odd_keywords(keyword: str, text: str, expected: bool) -> None:
    assert fires(Rule("odd", "a", (keyword,)), text) == expected


@given(st.lists(st.sampled_from(["ab", "a", "b"]), min_size=1, max_size=3), st.text("ab ,_", max_size=30))
def test_a_phrase_is_found_exactly_where_a_pattern_with_word_boundaries_finds_it(phrase: list[str], text: str) -> None:
    pattern = r"\b" + r"\s+".join(phrase) + r"\b"
    assert fires(Rule("phrase", "a", (" ".join(phrase),)), text) == bool(re.search(pattern, text))


@pytest.mark.parametrize(
    "text", ["a" * 10**6, " " * 10**6, "arefund " * 10**5, "speak to a " * 10**5, "\ud83d" * 10**5]
)
def test_a_text_of_a_megabyte_is_no_trouble(text: str) -> None:
    # In quadratic time each of these would take hours.
    rules = Rules([HUMAN, REFUND, RESET, Rule("long", "a", ("a" * 100 + "b", "speak to a speak to b"))])
    assert rules.match(text) is None
    assert rules.match(text + " refund") == REFUND


def test_without_rules_nothing_matches() -> None:
    assert Rules(()).match("refund") is None
    assert len(Rules(())) == 0


TEXTS = ["a refund", "refund it", "agent", "agent", "agent, a refund", "hello"]
LABELS = ["payments", "account", "tickets", "tickets", "tickets", "payments"]


def test_each_rule_is_measured_by_itself() -> None:
    assert measure(TAXONOMY.rules, TEXTS, LABELS) == (
        MeasuredRule("human", "tickets", 3, 3, 4 / 5),
        MeasuredRule("refund", "payments", 2, 1, 2 / 4),
        MeasuredRule("reset", "account", 0, 0, 1 / 2),
    )


@given(st.integers(0, 50), st.integers(0, 50))
def test_confidence_is_laplaces_estimate(right: int, wrong: int) -> None:
    labels = ["tickets"] * right + ["payments"] * wrong
    (found,) = measure([HUMAN], ["agent"] * len(labels), labels)
    assert found.confidence == (right + 1) / (right + wrong + 2)
    assert found.earned == (found.confidence > 0.8)


def measured(**confidence: float) -> list[MeasuredRule]:
    intents = {rule.name: rule.intent for rule in TAXONOMY.rules}
    return [MeasuredRule(name, intents[name], 10, 9, value) for name, value in confidence.items()]


def test_the_most_confident_rule_that_fires_answers() -> None:
    text = "reset my password, then an agent"
    for confidence, intent in (({"human": 0.9, "reset": 0.95}, "account"), ({"human": 0.97, "reset": 0.95}, "tickets")):
        rules = Rules.for_target(TAXONOMY, measured(**confidence), 0.9)
        rule = rules.match(text)
        assert rule is not None
        assert rule.intent == intent
        assert rules.confidence[rule.name] == max(confidence.values())


def test_between_equals_the_first_written_answers() -> None:
    rules = Rules.for_target(TAXONOMY, measured(reset=0.9, human=0.9), 0.9)
    assert rules.match("reset my password, then an agent") == HUMAN


def test_a_rule_belongs_to_the_targets_that_its_confidence_reaches() -> None:
    found = measured(human=0.95, refund=0.8, reset=0.81)
    sizes = {target: len(Rules.for_target(TAXONOMY, found, target)) for target in (0.8, 0.9, 0.95, 0.97)}
    assert sizes == {0.8: 3, 0.9: 1, 0.95: 1, 0.97: 0}
    assert len(Rules.earned(TAXONOMY, found)) == 2  # 0.8 itself is not enough
    assert Rules.earned(TAXONOMY, found).match("a refund") is None


def test_a_rule_that_was_not_measured_never_answers() -> None:
    assert len(Rules.for_target(TAXONOMY, (), 0.0)) == 0
    assert len(Rules.earned(replace(TAXONOMY, rules=()), measured(human=0.99))) == 0
