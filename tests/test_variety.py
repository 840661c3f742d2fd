from benchmarks.variety import agreement, share_of_common_openings, share_with_a_common_run
from training.rows import Row


def test_a_run_of_five_words_counts_only_if_another_text_has_it() -> None:
    texts = ["where is my new card today", "so where is my new card", "a b c d e a b c d e", "four words are few"]
    assert share_with_a_common_run(texts) == 0.5


def test_openings_are_counted_by_their_first_three_words() -> None:
    assert share_of_common_openings(["how do i pay", "How do I leave", "where is it", "no"]) == 0.5


def test_agreement_is_what_was_said_before_settling() -> None:
    rows = [Row("1", "x", "a"), Row("2", "y", "a", extra={"first": "a", "second": "b"})]
    assert agreement(rows) == 0.5
