"""Placeholders for what must not leave the process or be written down: the same in training and in serving.

The built-in redactor finds e-mail addresses, phone, card and bank account numbers, and keys and tokens. A card number
must pass its checksum and so must an IBAN, so order and ticket numbers stay.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

Redactor = Callable[[str], str]

# Between the groups of a number people put spaces, no-break spaces, dots, dashes, slashes, or a line break.
_GAP = r"[ \t\u00a0\u2007\u2009\u202f.\-\u2010-\u2015/]?\n?"

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_DIGITS = re.compile(rf"(?<![\w])\+?\(?\d(?:{_GAP}\(?\d\)?){{7,29}}(?!\w)")
_IBAN = re.compile(rf"(?<!\w)[A-Za-z]{{2}}\d{{2}}(?:{_GAP}[A-Za-z0-9]){{11,30}}(?!\w)")
_KEYS = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:(?!-----BEGIN)[\s\S]){0,8000}?"
    r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)"
    r"|(?<!\w)eyJ[\w-]{8,2000}\.[\w-]{8,4000}(?:\.[\w-]{4,2000})?"
    r"|(?<!\w)(?:sk|pk|rk)[-_][\w-]{16,400}"
    r"|(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)"
    r"|(?<!\w)(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|npm_|pypi-|AIza)[\w-]{16,400}"
)
_NAMED_SECRET = re.compile(
    r"((?:bearer|api[_ -]?key|access[_ -]?key|secret(?:[_ -]?key)?|token|passwor[dt]|passwd|pwd)"
    r"(?:\s{0,3}[:=]\s{0,3}|\s{1,3}is\s{1,3}|\s{1,3})[\"'`]?)"
    r"(?=[\w+/=.~-]{0,399}\d)([\w+/=.~-]{16,400})",
    re.IGNORECASE,
)
# One look that most texts do not pass: an @, seven digits anywhere near, a known key's start, a secret's name.
_SUSPECT = re.compile(
    r"@|\d(?:\D{0,3}\d){7}|eyJ|AKIA|ASIA|(?:sk|pk|rk)[-_]|gh[pousr]_|github_pat_|glpat-|xox|hf_|npm_|pypi-|AIza"
    r"|[A-Za-z]{2}\d\d|-----BEGIN|(?i:bearer|key|secret|token|passw|pwd)"
)


def redact(text: str) -> str:
    """`text` with placeholders for e-mail addresses, phone and card numbers, IBANs, keys and tokens."""
    if not _SUSPECT.search(text):
        return text
    text = _KEYS.sub("[key]", text)
    text = _NAMED_SECRET.sub(r"\1[key]", text)
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    text = _IBAN.sub(_iban, text)
    return _DIGITS.sub(_number, text)


def _iban(found: re.Match[str]) -> str:
    return "[iban]" if is_iban(found[0]) else found[0]


def is_iban(text: str) -> bool:
    """Whether `text`, separators aside, passes the checksum of an IBAN (ISO 13616, modulo 97)."""
    plain = re.sub(r"[\W_]", "", text).upper()
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _number(found: re.Match[str]) -> str:
    digits = "".join(re.findall(r"\d", found[0]))
    if 13 <= len(digits) <= 19 and passes_luhn(digits):
        return "[card]"
    return "[phone]" if _is_phone(found[0], digits) else found[0]


def passes_luhn(digits: str) -> bool:
    """Whether a string of digits has a card number's check digit (ISO/IEC 7812, Luhn's algorithm)."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def _is_phone(text: str, digits: str) -> bool:
    """A phone number: a country code, an area code in brackets, a leading 0 or the groups 3-3-4 of North America.

    Dates (2026-11-24 10:30), versions and order numbers have none of these.
    """
    if not 8 <= len(digits) <= 15:
        return False
    if text.startswith(("+", "00")) or "(" in text:
        return True
    if digits.startswith("0"):
        return len(digits) >= 9
    return bool(re.fullmatch(r"1?\W?\d{3}\W\d{3}\W\d{4}", text))


def load_redactor(name: str | None) -> Redactor:
    """A redactor by name: "builtin", "none" (or nothing), or MODULE:FUNCTION for one's own.

    Raises ValueError for any other name and for a function that cannot be found.
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
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no redactor {name}: {error}") from error
    if not callable(found):
        raise ValueError(f"the redactor {name} is no function but {type(found).__name__}")
    return _checked(found, str(name))


def _keep(text: str) -> str:
    return text


def _checked(function: Redactor, name: str) -> Redactor:
    def checked(text: str) -> str:
        redacted = function(text)
        if not isinstance(redacted, str):
            raise TypeError(f"the redactor {name} must return str, got {type(redacted).__name__}")
        return redacted

    return checked
