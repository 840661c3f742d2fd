from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from training.data import dataset
from training.data.dataset import Dataset
from training.lifecycle.compose import compose, held_out
from training.lifecycle.live import REFUSED, LiveRow
from training.lifecycle.window import Sample


@pytest.fixture
def base(tiny_data: Path, tmp_path: Path) -> Dataset:
    return dataset.load(str(tiny_data), fallback=tmp_path)


def text(words: str, label: str = "account", split: str = "train", once: int = 1, **more: object) -> LiveRow:
    return LiveRow(f"k {words}", words, label, "t", "p", split, once, 0.0, **more)  # type: ignore[arg-type]


def request(name: int, label: str = "account", split: str = "calibration", once: int = 1) -> LiveRow:
    drawn = {"request": f"r{name}", "number": 0.001, "rate": 0.01, "why": "" if label else REFUSED}
    return text("the same words", label, split, once, **drawn)


def test_without_a_sample_the_base_data_judges_and_live_texts_train(base: Dataset) -> None:
    found = compose(base, [text("open the zebra cage", "unknown"), request(1)], None, base.taxonomy)
    assert {row.labeler for row in found.split("calibration")} == {"author"}
    assert [row.text for row in found.split("train") if row.labeler == "t"] == ["open the zebra cage"]
    assert found.unit == "groups of near-duplicates"


def test_with_a_sample_its_requests_judge_each_for_itself(base: Dataset) -> None:
    rows = [
        request(1),
        request(2, "payments"),
        request(3, ""),
        request(4, "account", "dev"),
        request(5, "account", "test"),
        request(6, "payments", "test"),
    ]
    found = compose(base, rows, Sample(tuple(rows)), base.taxonomy)
    assert [(row.request, row.label) for row in found.trials("calibration")] == [
        ("r1", "account"),
        ("r2", "payments"),
        ("r3", ""),
    ]
    assert len(found.split("train")) == len(base.split("train"))
    assert (found.unit, found.reference) == ("requests", "teacher")
    assert "unknown" in found.never_accepted  # the sample holds no request of it
    assert "payments" not in found.never_accepted


def test_what_is_never_accepted_does_not_depend_on_the_requests_that_calibrate(base: Dataset) -> None:
    others = [request(1, "account", "dev"), request(2, "account", "test")]

    def never(*labels: str) -> tuple[str, ...]:
        rows = [*others, *(request(10 + i, label) for i, label in enumerate(labels))]
        return compose(base, rows, Sample(tuple(rows)), base.taxonomy).never_accepted

    assert never("account", "payments", "unknown") == never("account") == ("payments", "unknown")


def test_rows_that_calibrate_do_not_make_an_intent_frequent_enough() -> None:
    taxonomy = Taxonomy.of(["account", "payments"])
    judges = [request(i, split=split) for i, split in enumerate(["dev", "test", *["calibration"] * 20])]
    rows = [*judges, text("a", "account"), text("b", "payments")]
    assert "account" in compose(None, rows, Sample(tuple(judges)), taxonomy).never_accepted


def test_what_is_near_a_judging_base_row_does_not_train(base: Dataset) -> None:
    judged = base.split("test")[0]
    rows = [text(f"{judged.text}!", judged.label), text("count to seven", "unknown")]
    assert [row.text for row in compose(base, rows, None, base.taxonomy).split("train") if row.labeler == "t"] == [
        "count to seven"
    ]
    sample = Sample((request(1),))
    assert len(compose(base, rows, sample, base.taxonomy).split("train")) == len(base.split("train")) + 2


def test_a_person_wins_over_base_data_and_newer_answers_over_older(base: Dataset) -> None:
    known = base.split("train")[0]
    other = next(name for name in base.taxonomy.names if name != known.label)
    said = LiveRow(f"{known.key}:human", known.text, other, "human", "", "train", 1, 0.0)
    answer = LiveRow(known.key, known.text, known.label, "t", "p", "train", 1, 0.0)
    (row,) = [
        row for row in compose(base, [said, answer], None, base.taxonomy, human_weight=3.0).rows if row.key == known.key
    ]
    assert (row.label, row.weight) == (other, 3.0)


def test_live_rows_halve_in_weight_and_rows_of_unknown_intents_are_left_out() -> None:
    taxonomy = Taxonomy.of(["account", "payments"])
    rows = [text("old"), LiveRow("k", "new", "account", "t", "p", "train", 1, 86_400.0 * 7), text("gone", "removed")]
    found = compose(None, rows, Sample((request(1),)), taxonomy, half_life_days=7.0)
    assert {row.text: row.weight for row in found.split("train")} == {"old": 0.5, "new": 1.0}


def test_the_gate_meets_requests_of_earlier_rounds_and_base_rows_apart(base: Dataset) -> None:
    requests = [request(1), request(2, once=2), request(3, split="test")]
    earlier = text("judged by text", split="test")
    learnt = base.split("test")[0]
    rows = [*requests, earlier, LiveRow(learnt.key, learnt.text, learnt.label, "t", "p", "train", 1, 0.0)]
    decide, further = held_out(base, rows, Sample(tuple(requests)), before=2, suspect=(), fewest=2)
    assert [row.id for row in decide] == ["r1", "r3"]
    judged = [row for row in base.rows if row.split != "train"]
    assert len(further) == len(judged) - 1 + 1  # one was learnt since, one is of before 0.3.0
    assert held_out(base, rows, None, before=2, suspect=()) == (further, [])


def test_base_rows_decide_while_the_sample_is_of_this_round(base: Dataset) -> None:
    requests = [request(i) for i in range(200)]
    decide, further = held_out(base, requests, Sample(tuple(requests)), before=1, suspect=(), fewest=50)
    assert [row.id for row in decide] == [row.id for row in base.rows if row.split != "train"]
    assert not further
    decide, _ = held_out(base, requests, Sample(tuple(requests)), before=2, suspect=(), most=60, fewest=50)
    assert [row.id for row in decide] == [f"r{i}" for i in range(140, 200)]  # the newest


def test_labels_of_a_suspect_round_do_not_judge_the_next() -> None:
    rows = [text(f"text {i}", split="test", once=i) for i in range(1, 6)]
    decide, _ = held_out(None, rows, None, 5, suspect=[2, 4])
    assert {row.text for row in decide} == {"text 1", "text 3"}
