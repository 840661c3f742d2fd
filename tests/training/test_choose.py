from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.rows import Row
from training.student import model as student
from training.student.choose import ROWS_OF_AN_INTENT, Judges, _some, blend, choose, first_as_good

ROWS = [Row(str(i), text, label) for i, (text, label) in enumerate([("pay the bill", "a"), ("open the door", "b")] * 8)]


def answers(correct: np.ndarray, ranks_well: bool) -> tuple[np.ndarray, np.ndarray]:
    return np.where(correct, 0.9, 0.2) if ranks_well else np.where(correct, 0.2, 0.9), correct


def test_the_first_of_those_that_are_as_good_is_kept() -> None:
    correct = np.random.default_rng(0).random(200) < 0.8
    good, bad = answers(correct, True), answers(correct, False)
    assert first_as_good([good, good, bad]) == 0
    assert first_as_good([bad, good, good]) == 1
    assert first_as_good([bad, bad]) == 0


def test_a_difference_within_the_error_of_few_rows_changes_nothing() -> None:
    correct = np.ones(40, bool)
    one_wrong = correct.copy()
    one_wrong[20] = False
    confidence = np.linspace(1, 0.5, 40)
    assert first_as_good([(confidence, one_wrong), (confidence, correct)]) == 0


@pytest.fixture
def made(tiny_base: Path):
    torch.manual_seed(0)
    return student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)


def judges(made, tokenizer) -> Judges:
    names = [Row(label, label, label) for label in "ab"]
    train, dev, named = (student.encode(rows, made, tokenizer, 0.0) for rows in (ROWS, ROWS, names))
    return Judges(train, dev, named, student.Collator(tokenizer))


def weights(made) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in made.state_dict().items()}


def test_blending_goes_from_one_end_to_the_other(made) -> None:
    start = weights(made[0])
    end = {name: value + 1 if value.is_floating_point() else value for name, value in start.items()}
    for share in (0.0, 0.5, 1.0):
        blend(made[0], start, end, share)
        assert torch.allclose(made[0].head.bias, start["head.bias"] + share)


def test_what_is_left_in_the_student_is_what_was_kept(made) -> None:
    built, tokenizer = made
    start = weights(built)
    with torch.no_grad():
        built.head.weight.add_(0.1)
    tried = choose(built, start, 0.4, judges(built, tokenizer))
    (kept,) = [one for one in tried if one["kept"]]
    assert [(one["tuned"], one["centres"]) for one in tried] == [
        (tuned, share) for tuned in (0.5, 1.0, 0.0) for share in (0.4, 0.0)
    ]
    assert torch.allclose(built.head.weight, start["head.weight"] + 0.1 * kept["tuned"], atol=1e-6)
    assert (built.mixture is not None) == (kept["centres"] > 0)
    assert kept["area"] <= min(one["area"] for one in tried) + 0.1


def test_without_a_share_there_are_no_centres(made) -> None:
    built, tokenizer = made
    tried = choose(built, weights(built), 0.0, judges(built, tokenizer))
    assert built.mixture is None
    assert [one["centres"] for one in tried] == [0.0, 0.0, 0.0]


def test_centres_are_made_of_so_many_rows_of_each_intent_at_most(made) -> None:
    built, tokenizer = made
    items = student.encode(ROWS * 5 + ROWS[:1], built, tokenizer, 0.0)
    kept = np.bincount([item["target"].best for item in _some(items)])
    assert kept.tolist() == [ROWS_OF_AN_INTENT, ROWS_OF_AN_INTENT]
