from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.taxonomy import Intent, Taxonomy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.lists(TEXT.filter(bool), min_size=2, max_size=5, unique_by=str.casefold)


@given(NAMES, TEXT, st.booleans(), st.lists(TEXT, max_size=3))
def test_toml_round_trip(names: list[str], definition: str, outside: bool, ties: list[str]) -> None:
    intents = tuple(Intent(name, definition, (definition, name), outside) for name in names)
    taxonomy = Taxonomy(intents, tuple(ties))
    assert Taxonomy.parse(taxonomy.to_toml()) == taxonomy
    assert Taxonomy.parse(taxonomy.to_toml()).id() == taxonomy.id()


def test_the_default_taxonomy_has_the_five_intents() -> None:
    taxonomy = Taxonomy.load("data/support/taxonomy.toml")
    assert set(taxonomy.names) == {"tickets", "account", "payments", "general", "unknown"}
    assert taxonomy.out_of_scope == {"unknown"}
    assert len(taxonomy.ties) == 5
    assert all(intent.definition and intent.examples for intent in taxonomy.intents)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "at least two intents"),
        ('[[intents]]\nname = "a"\n[[intents]]\nname = "A"\n', "differ in more than case"),
        ('[[intents]]\nname = "a"\n[[intents]]\nname = ""\n', "empty name"),
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


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "taxonomy.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="utf-8"):
        Taxonomy.load(path)
