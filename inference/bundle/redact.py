"""Placeholders for what must not leave the process or be written down: the same in training and in serving.

TODO
"""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable

from inference.bundle import redact_phones
from inference.bundle.redact_catalogue import PASSWORDS, VERSION
from inference.bundle.redact_numbers import numbers
from inference.bundle.redact_view import Reading, unlike_its_reading
from inference.bundle.redact_words import words
from inference.common.text import MOST_CHARACTERS

Redactor = Callable[[str], str]
READ = 4 * MOST_CHARACTERS  # characters of a text; what teachers and the log see is the first quarter at most

# What most texts have none of, in lower case: a digit beside a letter, as keys have, or a word that announces one.
# Begun at their rarer letters, at each of which the search stops.
_MARKS = re.compile(
    r"[@_]|:\s{0,3}/|\d(?:(?=[a-z])|(?<=[a-z]\d))|k(?:ey|ennwort|ata sandi)|k(?<=tok)en|c(?<=sec)ret|w(?<=passw)|ph(?<=passph)"
    r"|p(?:in|w|sw|uk|arol)|v(?:v|e)(?<=cvv|ave)|cvc|otp|tan(?![a-z])|pass(?![a-z])|passcod|passord|bearer|basic |-----begin"
    r"|contrase|mot de|mdp|senha|lavra-pa|wachtw|senord|adgangsk|salasana|haslo|heslo|jelsz|sifre|mat khau|lozinka|geslo|signature"
    r"|sig=|credential|parool|geheimz|j(?<=eyj)|z(?<=aiz)|kia|asia|-(?<=sk-)|sg\."
)
_FOREIGN_MARKS = re.compile(PASSWORDS)
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


def counted(text: str, look: Looked, regions: tuple[str, ...] = redact_phones.REGIONS) -> str:
    """`redact` for phone numbers of `regions`, adding to `look` the characters that it looks at."""
    look.characters += 3 * len(text)
    numbered = (_SEVEN_ASCII_DIGITS if text.isascii() else _SEVEN_DIGITS).match(text)
    if not (numbered or _marked(text.lower()) or unlike_its_reading(text)):
        return text
    seen = Reading(look(text))
    reading = words(seen.reading, look)
    if numbered or seen.reading is not text:
        reading = numbers(reading, regions, look)
    return seen.with_placeholders(reading)


def _marked(lower: str) -> bool:
    return bool(_MARKS.search(lower) or not (lower.isascii() or _FOREIGN_MARKS.search(lower) is None))


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
