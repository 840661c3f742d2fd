import pytest

from benchmarks.poisoned import WRONG, spoiled
from training.data.rows import Row

NAMES = ["account", "payments", "unknown"]
ROWS = [Row(id=str(i), text=f"text {i}", label=NAMES[i % 3], labeler="author", split="train") for i in range(300)]


@pytest.mark.parametrize(("kind", "wrong"), [("clean", 0), ("random", round(WRONG * 300)), ("flipped", 100)])
def test_as_many_answers_are_wrong_as_said(kind: str, wrong: int) -> None:
    answers = spoiled(ROWS, kind, NAMES)
    assert sum(answer != row.label for answer, row in zip(answers, ROWS, strict=True)) == wrong


def test_a_flipped_intent_becomes_another_everywhere() -> None:
    answers = spoiled(ROWS, "flipped", NAMES)
    assert {answer for answer, row in zip(answers, ROWS, strict=True) if row.label == "account"} == {"payments"}
