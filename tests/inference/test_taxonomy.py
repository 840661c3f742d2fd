from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Intent, Rule, Taxonomy
from inference.common.text import canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.lists(TEXT.filter(canonical), min_size=2, max_size=5, unique_by=lambda name: canonical(name).casefold())
KEYWORDS = st.lists(TEXT.filter(str.strip), max_size=3).map(tuple)
LISTS = st.lists(st.tuples(KEYWORDS.filter(bool), KEYWORDS, KEYWORDS), max_size=3)


@given(NAMES, TEXT, st.booleans(), st.lists(TEXT, max_size=3), LISTS)
def test_toml_round_trip(
    names: list[str], definition: str, outside: bool, ties: list[str], lists: list[tuple[tuple[str, ...], ...]]
) -> None:
    intents = tuple(Intent(name, definition, (definition, name), outside) for name in names)
    rules = tuple(Rule(f"{names[0]} {i}", names[-1], *keywords) for i, keywords in enumerate(lists))
    taxonomy = Taxonomy(intents, tuple(ties), rules)
    assert Taxonomy.parse(taxonomy.to_toml()) == taxonomy
    assert Taxonomy.parse(taxonomy.to_toml()).id() == taxonomy.id()


def test_the_default_taxonomy_has_the_five_intents() -> None:
    taxonomy = Taxonomy.load("data/support/taxonomy.toml")
    assert set(taxonomy.names) == {"tickets", "account", "payments", "general", "unknown"}
    assert taxonomy.out_of_scope == {"unknown"}
    assert len(taxonomy.ties) == 5
    assert all(intent.definition and intent.examples for intent in taxonomy.intents)


def test_the_default_rules_stand_back_before_money_where_a_person_or_a_case_is_mentioned() -> None:
    rules = Taxonomy.load("data/support/taxonomy.toml").rules
    assert {rule.intent for rule in rules} == {"tickets", "account", "payments"}
    payments = [rule for rule in rules if rule.intent == "payments"]
    assert all({"human", "manager", "case number"} <= set(rule.none) for rule in payments)


def test_rules_are_part_of_the_id_and_keywords_are_optional_lists() -> None:
    intents = (Intent("a"), Intent("b"))
    ids = {Taxonomy(intents, rules=rules).id() for rules in ((), (Rule("r", "a", ("x",)),), (Rule("r", "b", ("x",)),))}
    assert len(ids) == 3
    parsed = Taxonomy.parse(TWO + 'name = "r"\nintent = "a"\nany = ["x y"]\nnone = ["z"]\n')
    assert parsed.rules == (Rule("r", "a", ("x y",), (), ("z",)),)


TWO = '[[intents]]\nname = "a"\n[[intents]]\nname = "b"\n[[rules]]\n'
R = TWO + 'name = "r"\nintent = "a"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (R + 'any = ["x"]\ncolour = "red"\n', "rule 'r' has unknown key colour"),
        (TWO + 'name = "r"\nintent = "c"\nany = ["x"]\n', "rule 'r' has unknown intent 'c'"),
        (R, "rule 'r' needs any"),
        (R + "any = []\n", "rule 'r': any has no keywords"),
        (R + 'any = ["x"]\nall = []\n', "rule 'r': all has no keywords"),
        (R + 'any = ["x"]\nnone = []\n', "rule 'r': none has no keywords"),
        (R + 'any = ["x", " "]\n', "rule 'r' has an empty keyword"),
        (R + 'any = "x"\n', "rule 'r': any must be a list of strings"),
        (R + 'any = ["x"]\n[[rules]]\nname = "r"\nintent = "b"\nany = ["y"]\n', "duplicate rule name: r"),
        (TWO + 'name = ""\nintent = "a"\nany = ["x"]\n', "empty name"),
        (TWO + 'intent = "a"\nany = ["x"]\n', "needs a name and an intent"),
        (TWO + 'name = "r"\nany = ["x"]\n', "needs a name and an intent"),
        ("rules = 3\n", r"\[\[rules\]\] tables"),
        ("", "at least two intents"),
        ('[[intents]]\nname = "a"\n[[intents]]\nname = "A"\n', "differ in more than upper and lower case"),
        ('[[intents]]\nname = "a"\n[[intents]]\nname = ""\n', "empty name"),
        ('[[intents]]\nname = "a"\n[[intents]]\nname = " \u200b"\n', "empty name"),
        ('[[intents]]\nname = "\u00e9"\n[[intents]]\nname = "E\u0301 "\n', "differ in more than upper and lower case"),
        ('[[intents]]\nname = "a"\ncolour = "red"\n', "unknown key colour"),
        ('[[intents]]\ndefinition = "a"\n', "needs a name"),
        ('[[intents]]\nname = "a"\nexamples = "b"\n', "list of strings"),
        ('[[intents]]\nname = "a"\nout_of_scope = 1\n', "true or false"),
        ("intents = 3\n", r"\[\[intents\]\] tables"),
        ("intents = [", "."),
    ],
)
def test_a_taxonomy_that_is_off_is_refused_by_file_and_reason(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as error:
        Taxonomy.load(path)
    assert str(path) in str(error.value)


def test_names_that_only_look_different_are_one() -> None:
    assert Taxonomy.of(["caf\u00e9", "cafe\u0301 ", "\ufeffb"], ["b\xa0"]) == Taxonomy.of(["caf\u00e9", "b"], ["b"])
    rule = Rule("r", " b\u200b", ("x",))
    assert Taxonomy((Intent("a "), Intent("b")), rules=(rule,)).rules[0].intent == "b"


def test_the_id_of_names_in_canonical_form_is_what_it_was() -> None:
    assert Taxonomy.of(["billing", "other"], ["other"]).id() == (
        "43c70520372fd6da22ba1d796517077a968fcafb06c5bbe595700c2bb3228d86"
    )


def test_a_question_is_what_the_intents_mean_and_neither_rules_nor_order() -> None:
    intents = (Intent("a", "first", ("one",)), Intent("b", out_of_scope=True))
    question = Taxonomy(intents, ("a first",)).question_id()
    assert len(bytes.fromhex(question)) == 32
    assert Taxonomy(intents[::-1], ("a first",), (Rule("r", "a", ("x",)),)).question_id() == question
    others = [
        Taxonomy(intents, ("b first",)),
        Taxonomy((replace(intents[0], name="c"), intents[1]), ("a first",)),
        Taxonomy((replace(intents[0], definition="second"), intents[1]), ("a first",)),
        Taxonomy((replace(intents[0], examples=("two",)), intents[1]), ("a first",)),
        Taxonomy((intents[0], replace(intents[1], out_of_scope=False)), ("a first",)),
    ]
    assert len({question, *(other.question_id() for other in others)}) == 6


def test_a_target_is_part_of_the_id_and_not_of_the_question() -> None:
    plain = Taxonomy((Intent("a"), Intent("b")))
    strict = Taxonomy((Intent("a", target=0.99), Intent("b")))
    assert strict.question_id() == plain.question_id()
    assert strict.id() != plain.id()
    assert (strict.targets, plain.targets) == ({"a": 0.99}, {})
    assert Taxonomy.parse(strict.to_toml()) == strict
    assert "target" not in plain.to_toml()


@pytest.mark.parametrize("target", ["0.49", "0.9995", "99", "1", "nan", '"0.99"', "true"])
def test_a_target_that_is_none_is_refused_with_the_intents_name(target: str) -> None:
    with pytest.raises(ValueError, match="intent 'a': target must be"):
        Taxonomy.parse(f'[[intents]]\nname = "a"\ntarget = {target}\n[[intents]]\nname = "b"\n')


def test_a_byte_order_mark_is_no_part_of_a_taxonomy(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_text(Taxonomy.of(["a", "b"]).to_toml(), encoding="utf-8-sig")
    assert Taxonomy.load(path) == Taxonomy.of(["a", "b"])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        Taxonomy.load(path)
