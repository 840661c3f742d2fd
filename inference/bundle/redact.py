"""Placeholders for what must not leave the process or be written down: the same in training and in serving.

The built-in redactor knows
- logins in URLs: what stands between "://" and "@", with "/" and "#" in it after a colon or a name without a dot;
- keys of well-known services by how they begin, JSON web tokens, private keys, words of 24 and more characters that mix
  small letters, capitals and digits, hexadecimal numbers of 32 and more, and what follows key, token, secret or Bearer;
- passwords, PINs and security codes after what some twenty languages call them, where they have a digit, a sign or
  a capital inside, up to six words later where these end in ":" or "is";
- e-mail addresses, also with a gap beside the "@";
- phone numbers: with "+", with a leading 0, after a word such as "call", and seven to twelve digits as they are dialled
  in a region. With the extra `redact`, phonenumbers judges these by the plans of the regions (by default 50 of them,
  "builtin:DE,FR" names others); without it, all are replaced;
- card numbers and IBANs that pass their checksums.

Before it looks, it decodes %- and HTML escapes once, reads full-width, styled and other scripts' digits as digits, and
leaves out invisible and combining characters. Between the digits or letters of a number there may be up to ten
characters that are neither. In scripts without spaces a secret may stand beside any letter; of numbers that nothing
announces, ten digits and more then count. Dates, times, amounts, decimals, UUIDs and IP addresses stay,
and so do numbers that go on from letters or follow a word such as "order" or "ticket".

It does not know: names, postal addresses, dates of birth; ID, tax, passport and account numbers but IBANs; numbers
spelt out as words, "jane at example dot org", an "@" or a dot that is an image or another letter; passwords that are
plain words or stand without such a word before them, and the second of two; keys of unlisted services that are short or
have one case only; cards and IBANs with a wrong digit; phone numbers in lists with ", ", of less than seven digits, or
that look like dates, times or IP addresses; numbers cut by letters; what is escaped twice, in base64, quoted-printable
or \\u escapes.

Anybody may have written the text, so the time is linear in its length whatever it is. Of each sort 16 candidates a text
are judged (of digits 224, of IBANs 7): what comes after them is replaced without a second look, so that there ordinary
numbers and words beside a marker go too.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import re
from collections.abc import Callable

from inference.bundle.redact_catalogue import FOREIGN_MARKER, GATE, KEY_BEGINS, VERSION
from inference.bundle.redact_ibans import ibans
from inference.bundle.redact_numbers import numbers
from inference.bundle.redact_phones import REGIONS, is_national, library
from inference.bundle.redact_view import Reading, unlike_its_reading
from inference.bundle.redact_words import words
from inference.common.text import MOST_CHARACTERS

Redactor = Callable[[str], str]
READ = 4 * MOST_CHARACTERS  # characters of a text; what teachers and the log see is the first quarter at most
WORD, HALF = 512, 64  # characters before a cut among which white space is looked for; that are left out at least
_HALF = re.compile(r"[!-~]+\Z")

# What secrets have and most texts do not; where it is missing, only a word such as "password" is looked for.
_RARE = re.compile(r"[0-9@_%&/-]")
_LIKE_A_KEY = re.compile(
    r"[0-9_-](?:(?<=_)|(?<=-)(?:(?=[\w-]{8})|(?<=---))|(?<=[0-9])(?:(?=[A-Za-z])|(?<=[A-Za-z][0-9])))"
)
_BUILTIN = re.compile(r"builtin(?::\d+:[0-9a-f]{8})?(?::([A-Z]{2}(?:,[A-Z]{2})*))?")
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

    Two microseconds for a hundred characters without digits, signs as in an address, and words such as "key".
    Raises TypeError if `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text to redact must be a str, got {type(text).__name__}")
    return counted(text, Looked())


def counted(text: str, look: Looked, regions: tuple[str, ...] = REGIONS) -> str:
    """`redact` for phone numbers of `regions`, adding to `look` the characters that it looks at."""
    lower, plain = text.lower(), text.isascii()
    marked = GATE.search(lower) if plain else FOREIGN_MARKER.search(lower) or KEY_BEGINS.search(look(lower))
    if plain and marked is None and _RARE.search(text) is None:
        look.characters += 3 * len(text)
        return text
    numbered = (_SEVEN_ASCII_DIGITS if plain else _SEVEN_DIGITS).match(text)
    look(lower[: marked.end()] if marked else lower)
    look(text[: numbered.end()] if numbered else text)
    if not (marked or numbered or _has_signs(look(text)) or unlike_its_reading(text)):
        return text
    seen = Reading(text)
    if not (numbered or seen.reading is not text):
        return seen.with_placeholders(words(seen.reading, look))
    # Accounts first: an IBAN's letters may be "pw" or how a key begins.
    accounts = list(ibans(seen.reading, look))
    return seen.with_placeholders(numbers(words(seen.reading, look), accounts, regions, look))


def _has_signs(text: str) -> bool:
    """Whether a URL, an address or a key may be in `text`, by the signs that each has."""
    return "@" in text or (":" in text and "/" in text) or _LIKE_A_KEY.search(text) is not None


@functools.cache
def builtin(regions: tuple[str, ...]) -> Redactor:
    """`redact` for phone numbers of these regions, named by two letters. Raises ValueError if one is unknown."""
    is_national("", regions)  # raises where the library knows none of that name

    def redact_for_regions(text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"a text to redact must be a str, got {type(text).__name__}")
        return counted(text, Looked(), regions)

    return redact_for_regions


def redactor_id(name: str | None) -> str | None:
    """The id of a redactor that `load_redactor` takes, to be kept in a bundle: two of one id redact alike.

    That of the built-in one is builtin:VERSION:HASH, with :REGIONS where they are not the default ones. The hash is of
    the catalogue's version, the regions and the version of phonenumbers. A custom one is known by its name alone.
    """
    if (regions := _regions(name)) is None:
        return name
    known = f"{VERSION}|{','.join(regions)}|{library()}"
    digest = hashlib.blake2b(known.encode(), digest_size=4).hexdigest()
    return f"builtin:{VERSION}:{digest}{'' if regions == REGIONS else ':' + ','.join(regions)}"


def other_redaction(name: str | None) -> str:
    """In words, that a bundle was certified under a redactor that differs from today's; empty where it was not."""
    today = redactor_id(name)
    if _regions(name) is None or name == today:
        return ""
    return f"its certificate was computed under the redaction {name}, and texts are redacted by {today}: train it anew"


def _regions(name: str | None) -> tuple[str, ...] | None:
    """The regions that the name or the id of the built-in redactor has, else the default ones; None for any other."""
    if not (found := _BUILTIN.fullmatch(name or "")):
        return None
    return tuple(sorted(set(found[1].split(",")))) if found[1] else REGIONS


def is_builtin(name: str | None) -> bool:
    """Whether a bundle may be opened by this name alone: no code of others is imported for it."""
    return name in (None, "", "none") or _regions(name) is not None


def load_redactor(name: str | None) -> Redactor:
    """A redactor by name: "builtin", "none" (or nothing), or MODULE:FUNCTION for a custom one.

    "builtin:DE,FR" looks for national phone numbers of these regions only. A bundle's id of the built-in redactor is
    taken too: its regions count, not its version. Raises ValueError if the name is another or the function cannot be
    found. A custom redactor must return a string: it raises TypeError for another type. Several threads may call it at
    once.
    """
    if name in (None, "", "none"):
        return _keep
    if (regions := _regions(name)) is not None:
        is_national("", REGIONS)  # the library is loaded before the first text comes
        return redact if regions == REGIONS else builtin(regions)
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
    """Redact what is read of a text: its first READ characters, once runs of white space are collapsed.

    Of a longer text the end is left out after that, for it may be half a secret, which is not recognised: to a white
    space or, where none is near, without the signs that could be a secret's. What is left is never empty.
    """

    def redact_beginning(text: str) -> str:
        if len(text) <= READ or len(text := " ".join(text.split())) <= READ:
            return redact(text)
        return _without_its_end(redact(text[:READ]))

    return redact_beginning


def beginning(text: str) -> str:
    """As much of `text` as `of_the_beginning` of any redactor depends on."""
    return text if len(text) <= READ else " ".join(text.split())[: READ + 2]


def _without_its_end(redacted: str) -> str:
    if len(redacted) <= 2 * HALF:  # nearly all was replaced
        return redacted[: redacted.rfind("]") + 1] or redacted[: len(redacted) // 2]
    head = redacted[:-HALF]
    blank = head.rfind(" ", max(0, len(head) - WORD))
    return head[:blank] if blank > 0 else (head[:-WORD] + _HALF.sub("", head[-WORD:]) or head)


def _keep(text: str) -> str:
    return text


def _checked(function: Redactor, name: str) -> Redactor:
    def checked(text: str) -> str:
        redacted = function(text)
        if not isinstance(redacted, str):
            raise TypeError(f"the redactor {name} must return str, got {type(redacted).__name__}")
        return redacted

    return checked
