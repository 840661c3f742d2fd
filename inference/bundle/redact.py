"""Placeholders for what must not leave the process or be written down: the same in training and in serving.

The built-in redactor knows e-mail addresses, phone and card numbers, IBANs, and keys and tokens. Cards and IBANs must
pass their checksums; dates, amounts, versions and order or ticket numbers stay. It works on what people type: between
digits there may be spaces of all kinds, line breaks, dots, dashes and slashes, and the digits may be those of any
script. It does not know numbers spelt out as words, addresses spelt "jane at example dot org", keys in full-width
letters, or ten digits in a row without "+", a leading 0 or a word such as "call" before them.

Anybody may have written the text, so the time is linear in its length whatever it is: each recogniser reads it once.
Hence each is written so that it takes at once what would only be seen when something beside it is a placeholder.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

from inference.bundle.redact_numbers import numbers
from inference.bundle.redact_words import addresses, keys
from inference.common.text import MOST_CHARACTERS

Redactor = Callable[[str], str]
READ = 4 * MOST_CHARACTERS  # characters of a text; what teachers and the log see is the first quarter at most

# What most texts have none of: the beginning of a key, or a word that announces one. Begun at their rarer letters, at
# each of which the search stops: "kia" for AKIA, "j" for eyJ.
_KEY_MARK = (
    r"key|kia|token|secret|sia|passw|passphrase|pwd|bearer|j(?<=eyj)|z(?<=aiz)|_(?<=gh[pousr]_)|_(?<=_pat_)|_(?<=hf_)"
    r"|_(?<=k_)(?:live|test)|-(?<=sk-)|-(?<=glpat-)|-(?<=xox[abeprs]-)|-----begin"
)
_MARK, _KEY_OR_AT = re.compile(_KEY_MARK), re.compile(rf"@|\uff20|{_KEY_MARK}")
_SEVEN_DIGITS = re.compile(r"(?:\D*+\d){7}")  # no number that is looked for has fewer
_SEVEN_ASCII_DIGITS = re.compile(_SEVEN_DIGITS.pattern, re.ASCII)  # the same for most texts, in half the time


class Looked:
    """Counts what one `redact` costs, whatever the clock says: the characters of every text that a scan is handed.

    A scan is a regular expression that goes through a text, or a loop over its letters.
    """

    __slots__ = ("characters",)

    def __init__(self) -> None:
        self.characters = 0

    def __call__(self, text: str) -> str:
        self.characters += len(text)
        return text


def redact(text: str) -> str:
    """`text` with [email], [phone], [card], [iban] and [key] for what they stand for; `redact` leaves its own result.

    A microsecond or two for a hundred characters without "@", without seven digits and without a word such as "key".
    Raises TypeError if `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text to redact must be a str, got {type(text).__name__}")
    return counted(text, Looked())


def counted(text: str, look: Looked) -> str:
    """`redact`, adding to `look` the characters that it looks at."""
    lower = text.lower()
    marked = _KEY_OR_AT.search(lower)
    numbered = (_SEVEN_ASCII_DIGITS if text.isascii() else _SEVEN_DIGITS).match(text)
    if not (marked or numbered):
        look.characters += 3 * len(text)
        return text
    keyed = _MARK.search(lower, marked.start()) if marked else None
    look(text)
    look(lower[: keyed.end()] if keyed else lower)
    look(text[: numbered.end()] if numbered else text)
    pieces = [(text, "")]
    if marked:
        pieces = list(addresses(text, look))
    if keyed:
        text = keys("".join(map("".join, pieces)), look)
        # Where a key went from a URL, an address may be left.
        pieces = list(addresses(text, look)) if len(pieces) > 1 else [(text, "")]
    if not numbered:
        return "".join(map("".join, pieces))
    return "".join(numbers(piece, look) + (_kept_url(url, look) if url else "") for piece, url in pieces)


def _kept_url(url: str, look: Looked) -> str:
    """`url`, unless a number in it has to go: then what is left of it would look like an address."""
    return url if numbers(url, look) == url else "[email]"


def load_redactor(name: str | None) -> Redactor:
    """A redactor by name: "builtin", "none" (or nothing), or MODULE:FUNCTION for a custom one.

    Raises ValueError if the name is another or the function cannot be found. A custom redactor must return a string:
    it raises TypeError for another type.
    """
    if name in (None, "", "none"):
        return _keep
    if name == "builtin":
        return redact
    module, _, function = str(name).partition(":")
    if not (module and function):
        raise ValueError(f"a redactor must be builtin, none or MODULE:FUNCTION, got {name!r}")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, TypeError) as error:  # TypeError: a relative name
        raise ValueError(f"the redactor {name} cannot be imported: {error}") from error
    if not callable(found):
        raise ValueError(f"the redactor {name} must be a function, got {type(found).__name__}")
    return _checked(found, str(name))


def of_the_beginning(redact: Redactor) -> Redactor:
    """Redact what is read of a text; a word that the cut divides is left out, since half a secret is not recognised."""

    def beginning(text: str) -> str:
        if len(text) > READ:
            text = text[:READ].rpartition(" ")[0]
        return redact(text)

    return beginning


def _keep(text: str) -> str:
    return text


def _checked(function: Redactor, name: str) -> Redactor:
    def checked(text: str) -> str:
        redacted = function(text)
        if not isinstance(redacted, str):
            raise TypeError(f"the redactor {name} must return str, got {type(redacted).__name__}")
        return redacted

    return checked
