"""What a text needs before anything reads it, and when two texts are the same query."""

from __future__ import annotations

import contextlib
import json
import unicodedata
from collections.abc import Callable, Iterator

# The intent of a longer query is decided by then, and a hostile one must not run up the bill.
MOST_CHARACTERS = 8000
# Soft hyphen, zero-width spaces and joiners, marks of direction, invisible operators, byte order mark.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)


def canonical(name: str) -> str:
    """The one form of a label or an intent's name: NFC, stripped, without byte order mark and zero-width characters."""
    return unicodedata.normalize("NFC", name.translate(_INVISIBLE)).strip()


def repair(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable(text: str) -> str:
    """The beginning of `text`, as a database keeps it: none takes a lone surrogate, and PostgreSQL no NUL."""
    return repair(text[:MOST_CHARACTERS]).replace("\x00", "\ufffd")


def query_form(text: str) -> str:
    """The form under which two texts are the same query: NFKC, case folded, white space collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


class Forgotten:
    """Which stored texts are the same query as `text`, which is to be forgotten: as it was typed, redacted, or cut.

    `texts` are the forms in which it may be stored. Raises TypeError if it is not a string, ValueError if it is empty.
    """

    def __init__(self, text: str, *redactors: Callable[[str], str]) -> None:
        if not isinstance(text, str):
            raise TypeError(f"the text to forget must be a str, got {type(text).__name__}")
        if not query_form(text):
            raise ValueError("the text to forget must not be empty")
        self._redactors = redactors
        self.texts = tuple(dict.fromkeys([text, *self._redacted(text)]))
        kept = {form for text in self.texts for form in (text, repair(text), storable(text))}
        self.forms = frozenset(map(query_form, kept)) - {""}

    def __call__(self, stored: str) -> bool:
        """Whether a text that was redacted before it was stored is to be forgotten."""
        return query_form(stored) in self.forms

    def as_typed(self, stored: str) -> bool:
        """Whether a text that is stored as it was typed is to be forgotten."""
        return self(stored) or any(map(self, self._redacted(stored)))

    def in_line(self, line: bytes) -> bool:
        """Whether a JSON line holds the text. Of a damaged line, one that is cut off is taken to hold it."""
        try:
            text = json.loads(line)["text"]
        except (KeyError, TypeError):
            return False
        except (ValueError, RecursionError):
            return not line.endswith(b"\n") or any(form in line for form in self._written())
        return isinstance(text, str) and self.as_typed(text)

    def _redacted(self, text: str) -> Iterator[str]:
        for redact in self._redactors:
            with contextlib.suppress(Exception):  # what a custom redactor fails on was never stored
                yield redact(text)

    def _written(self) -> Iterator[bytes]:
        for text in map(repair, self.texts):
            yield json.dumps(text)[1:-1].encode()
            yield json.dumps(text, ensure_ascii=False)[1:-1].encode()
