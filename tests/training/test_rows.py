import pytest

from training.data.rows import Row, named, to_record, to_row

FULL = Row(
    "7", "hi there", "a", gold="b", labeler="anthropic:m", shares={"a": 0.75, "b": 0.25}, split="dev", weight=0.5,
    extra={"business": "bank"},
)  # fmt: skip


@pytest.mark.parametrize("row", [FULL, Row("x", "hi", "a")])
def test_what_is_written_is_read(row: Row) -> None:
    assert to_row(to_record(row), "here", "") == row


def test_a_record_without_a_label_is_a_refusal() -> None:
    assert to_row({"text": "hi", "label": None}, "here", "") is None
    assert to_row({"text": "hi", "label": ""}, "here", "") is None


def test_numbers_and_truth_values_are_text() -> None:
    row = to_row({"text": 404, "label": True, "id": 0, "monoku_gold": 1}, "here", "")
    assert row is not None
    assert (row.text, row.label, row.id, row.gold) == ("404", "true", "0", "1")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            {"query": "hi", "label": "a"},
            "the field text is missing; those found are query, label: rename that of the message to text",
        ),
        (
            {"text": "hi", "gold": "a"},
            "the field label is missing; those found are text, gold: rename that of the intent to label",
        ),
        ({"text": None, "label": "a"}, "text must be a non-empty string, got None"),
        ({"text": ["hi"], "label": "a"}, r"text must be a string, got \['hi'\]"),
        ({"text": "  ", "label": "a"}, "text must be a non-empty string"),
        ({"text": "hi", "label": ["a"]}, "label must be a string"),
        ({"text": "hi", "label": " \u200b"}, "label must be a non-empty string"),
        ({"text": "hi", "label": "a", "monoku_shares": {"a": -1}}, "shares must map"),
        ({"text": "hi", "label": "a", "monoku_shares": "{a: 1}"}, "shares must map .* not valid JSON"),
        ({"text": "hi", "label": "a", "split": "dev2"}, "split must be one of train, dev, val, calibration, test, got"),
        ({"text": "hi", "label": "a", "monoku_weight": "heavy"}, "weight must be a number of at least 0, got 'heavy'"),
        ({"text": "hi", "label": "a", "labeler": "human", "weight": True}, "weight must be"),
        ({"text": "hi", "Text": "ho", "label": "a"}, "the columns 'text', 'Text' are all 'text'; rename"),
    ],
)
def test_a_wrong_record_is_refused_by_place_and_reason(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^here: {complaint}"):
        to_row(values, "here", "")


def test_columns_of_the_user_that_are_named_as_ours_are_carried_and_mean_nothing() -> None:
    mine = {"gold": "yes", "weight": "3 kg", "shares": 200, "labeler": "Anna", "requests": "many"}
    row = to_row({"text": "hi", "label": "a", **mine}, "here", "")
    assert row == Row(row.id if row else "", "hi", "a", extra=mine)
    assert to_row(to_record(row), "here", "") == row


@pytest.mark.parametrize("labeler", ["human", "author", "anthropic:claude-haiku-5-5"])
def test_fields_of_ours_without_the_prefix_are_read_in_rows_that_earlier_versions_wrote(labeler: str) -> None:
    old = {"text": "hi", "label": "a", "labeler": labeler, "gold": "b", "weight": 2, "shares": {"a": 3, "b": 1}}
    row = to_row(old, "here", "")
    assert row is not None
    assert (row.labeler, row.gold, row.weight, row.shares) == (labeler, "b", 2.0, {"a": 0.75, "b": 0.25})
    assert row.extra == {}


def test_an_intent_without_votes_has_no_share() -> None:
    row = to_row({"text": "hi", "label": "a", "monoku_shares": {"a": 1.0, "b": None}}, "here", "")
    none = to_row({"text": "hi", "label": "a", "monoku_shares": {"a": None}}, "here", "")
    assert row is not None
    assert none is not None
    assert (row.shares, none.shares) == ({"a": 1.0}, None)


def test_shares_and_weights_are_read_from_text() -> None:
    cells = {"text": "hi", "label": "a", "monoku_shares": '{"a": 3, "b": 1}', "monoku_weight": "0.5"}
    row = to_row(cells, "here", "")
    assert row is not None
    assert (row.shares, row.weight) == ({"a": 0.75, "b": 0.25}, 0.5)


@pytest.mark.parametrize(
    ("written", "split"),
    [("Train", "train"), (" TRAINING ", "train"), ("validation", "val"), ("valid", "val"), ("Dev", "dev"), (None, "")],
)
def test_a_split_may_be_written_in_any_usual_way(written: str | None, split: str) -> None:
    row = to_row({"text": "hi", "label": "a", "Split": written}, "here", "")
    assert row is not None
    assert row.split == split


def test_our_columns_may_be_written_in_any_case() -> None:
    assert named({"\ufeffText": "hi", "LABEL ": "a", "Note": 1}, "here") == {"text": "hi", "label": "a", "Note": 1}


def test_a_lone_surrogate_is_replaced() -> None:
    row = to_row({"text": "broken \ud83d here", "label": "a"}, "here", "")
    assert row is not None
    assert row.text == "broken \ufffd here"
