import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.common.text import canonical, repair
from inference.teachers.prompt import Prompt

UNSEEN = st.text(st.sampled_from(" \t\n\r\xa0\u2003\u3000\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff"), max_size=4)
INSIDE = st.text(st.sampled_from("\u00ad\u200b\u200c\u200d\u2060\ufeff"), max_size=3)
FORM = st.sampled_from(["NFC", "NFD"])


@given(st.text())
def test_the_canonical_form_is_its_own(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once == once.strip()
    assert unicodedata.is_normalized("NFC", once)


@given(st.text(), UNSEEN, UNSEEN, INSIDE, st.integers(0, 20), FORM)
def test_variants_that_nobody_can_tell_apart_are_one(
    text: str, before: str, after: str, inside: str, at: int, form: str
) -> None:
    variant = before + text[:at] + inside + text[at:] + after
    assert canonical(variant) == canonical(text)
    assert canonical(unicodedata.normalize(form, text)) == canonical(text)


@pytest.mark.parametrize(
    "variant",
    ["billing", "billing ", "\tbilling", "billing\xa0", "bill\u200bing", "\ufeffbilling", "\u202abilling\u202c"],
)
def test_every_spelling_of_a_label_matches_the_intent(variant: str) -> None:
    assert canonical(variant) == "billing"
    prompt = Prompt.of(Taxonomy.of([variant, "Crème brûlée "]))
    assert prompt.labels == ("Crème brûlée", "billing")
    assert prompt.match(variant.upper()) == "billing"
    assert prompt.match(unicodedata.normalize("NFD", "\u200bcrème BRÛLÉE")) == "Crème brûlée"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_names_keep_their_form(text: str) -> None:
    assert canonical(text) == text.strip(" ")


@given(st.text(st.characters()))
def test_a_repaired_text_can_be_written(text: str) -> None:
    assert repair(repair(text)) == repair(text)
    repair(text).encode("utf-8")
