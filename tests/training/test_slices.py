import pytest

from training.data.rows import Row
from training.evaluation.slices import FEWEST_ROWS, cue_words, is_foreign, is_misleading, slices

TRAIN = [Row(f"a{i}", f"refund number {i}", "payments") for i in range(20)] + [
    Row(f"b{i}", f"password number {i}", "account") for i in range(20)
]


def test_a_word_hints_at_the_intent_that_it_mostly_goes_with() -> None:
    cues = cue_words(TRAIN)
    assert cues["refund"] == "payments"
    assert cues["password"] == "account"
    assert "number" not in cues


@pytest.mark.parametrize(
    ("text", "label", "expected"),
    [
        ("the password on my invoice", "payments", True),
        ("refund, and the password too", "payments", False),
        ("good morning", "general", False),
    ],
)
def test_words_mislead_if_they_hint_at_other_intents_only(text: str, label: str, expected: bool) -> None:
    assert is_misleading(Row("1", text, label), cue_words(TRAIN)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bonjour, je ne peux pas ouvrir mon compte", True),
        ("ich kann mich nicht anmelden", True),
        ("не могу войти", True),
        ("my mon amour bag is not here", False),
        ("where is my café order", False),
        ("", False),
    ],
)
def test_other_languages_are_told_by_script_and_function_words(text: str, expected: bool) -> None:
    assert is_foreign(Row("1", text, "a")) is expected


def test_rows_lie_in_their_slices_and_small_slices_are_left_out() -> None:
    rows = [Row(str(i), "short one", "payments", extra={"hard": True, "business": "gym"}) for i in range(FEWEST_ROWS)]
    rows += [Row("x", "also " + "word " * 50, "payments", extra={"hard": False, "business": "bank"})]
    every = list(range(FEWEST_ROWS))
    assert slices(rows, TRAIN) == {"hard": every, "short": every, "business: gym": every}
