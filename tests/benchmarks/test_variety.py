from benchmarks.variety import agreement, share_of_common_openings, share_with_a_common_run
from training.data.rows import Row


def test_a_run_of_five_words_counts_only_if_another_text_has_it() -> None:
    texts = ["where is my new card today", "so where is my new card", "a b c d e a b c d e", "four words are few"]
    assert share_with_a_common_run(texts) == 0.5


def test_openings_are_counted_by_their_first_three_words() -> None:
    assert share_of_common_openings(["how do i pay", "How do I leave", "where is it", "no"]) == 0.5


def test_agreement_is_what_was_said_before_settling() -> None:
    extras: list[dict[str, object]] = [{}, {"second": "a"}, {"second": "b"}, {"first": "b", "second": "a"}]
    rows = [Row(str(i), "x", "a", extra=extra) for i, extra in enumerate(extras)]
    assert agreement(rows) == (3, 2 / 3)
    assert agreement([]) == (0, 0.0)
