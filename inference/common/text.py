"""What a text needs before anything reads it."""

from __future__ import annotations


def repair(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# The intent of a longer query is decided by then, and a hostile one must not run up the bill.
MOST_CHARACTERS = 8000
