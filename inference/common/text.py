"""What a text needs before anything reads it."""

from __future__ import annotations

import unicodedata

# Soft hyphen, zero-width spaces and joiners, marks of direction, invisible operators, byte order mark.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)


def canonical(name: str) -> str:
    """The one form of a label or an intent's name: NFC, stripped, without byte order mark and zero-width characters."""
    return unicodedata.normalize("NFC", name.translate(_INVISIBLE)).strip()


def repair(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


# The intent of a longer query is decided by then, and a hostile one must not run up the bill.
MOST_CHARACTERS = 8000
