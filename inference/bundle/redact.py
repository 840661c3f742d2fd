"""Placeholders for what must not leave the process or be written down: the same in training and in serving.

The built-in redactor knows e-mail addresses, phone and card numbers, IBANs, and keys and tokens. Cards and IBANs must
pass their checksums; dates, amounts, versions and order or ticket numbers stay. It works on what people type: between
digits there may be spaces of all kinds, line breaks, dots, dashes and slashes, and the digits may be those of any
script. It does not know numbers spelt out as words, addresses spelt "jane at example dot org", keys in full-width
letters, or ten digits in a row without "+", a leading 0 or a word such as "call" before them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from itertools import accumulate

from inference.common.text import MOST_CHARACTERS

Redactor = Callable[[str], str]
READ = 4 * MOST_CHARACTERS  # characters of a text; what teachers and the log see is the first quarter at most

# What people, word processors and phones put between the digits of a number, invisible characters included.
_SEPARATOR = (
    r"\s.\-/_\u00ad\u00b7\u180e\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060-\u2069\u2212\ufe58\ufe63\ufeff\uff0d\uff0e"
)
_GAP = rf"[{_SEPARATOR}]{{1,5}}+"

_MONTH, _DAY, _YEAR = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
_DATE = "|".join(
    rf"(?:{_YEAR}{s}{_MONTH}{s}{_DAY}|{_DAY}{s}{_DAY}{s}(?:{_YEAR}|YY))(?!{s}?\d)" for s in ("-", r"\.", "/")
)
_DATE = rf"(?<!\d)(?<!\d[-./])(?:{_DATE})"
_FULL_DATE, _ANY_DATE = _DATE.replace("|YY", ""), _DATE.replace("YY", r"\d\d")
_UUID = r"[\dA-Fa-f]{8}(?:-[\dA-Fa-f]{4}){3}-[\dA-Fa-f]{12}"

_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(rf"{_FULL_DATE}|{_UUID}|(?P<run>\d++(?:{_GAP}(?!{_FULL_DATE})\d++)*+)")

# A digit of a phone number, with what stands before it; where a date begins, the number has ended.
_NEXT = rf"(?:[{_SEPARATOR}()]{{1,5}}+(?!{_ANY_DATE})|)\d"
_START = rf"(?<!\w)(?<!\w[-./_])(?!{_ANY_DATE})"
_END = r"(?!\d)(?![-./]\d)"
_ZERO = "[0\u0660\u06f0\u0966\u09e6\u0e50\uff10]"
_SOME = rf"(?!{_ZERO})\d"
_PHONE = re.compile(
    rf"[+\uff0b][{_SEPARATOR}(]{{0,3}}{_SOME}(?:{_NEXT}){{7,14}}(?!\d)"
    rf"|{_START}(?:\(?{_ZERO}{_ZERO}{_SOME}(?:{_NEXT}){{8,13}}|\(?{_ZERO}{_SOME}(?:{_NEXT}){{7,10}}"
    rf"|\(\d{{2,5}}\)(?:{_NEXT}){{6,10}}|\(?{_ZERO}{_SOME}\d{{1,2}}\)?[\s/]{{1,3}}\d{{4}}"
    rf"|(?:1{_GAP})?\d{{3}}{_GAP}\d{{3}}{_GAP}\d{{4}}){_END}"
)
_CALLED = re.compile(
    r"((?<!\w)(?:(?:cell|smart)?phone|tel(?:ephone|efon)?|mobile|handy|cell|fax|whatsapp|sms|call|text|ring|reach"
    r"|dial|contact)"
    r"(?:[\s:=.,#-]{0,3}(?:me|us|him|her|back|numbers?|no|nr|is|are|at|on|under|via|to|my|our|the|it)(?!\w)){0,5}"
    rf"[\s:=.,#-]{{0,3}}|(?<!\w)my number(?: is|:) {{0,2}})(?!{_ANY_DATE})\(?\d(?:{_NEXT}){{6,14}}{_END}",
    re.IGNORECASE,
)

# A local part as RFC 5322 has it, and letters of any script; what begins with // is the path of a URL.
_LOCAL = r'[^\s@\uff20,;:()<>\[\]"\\]'
_LABEL = r"""[^\s@\uff20,;:()<>\[\]"\\.\u3002\uff0e!?/'&=|{}]+"""
_EMAIL = re.compile(
    rf'(?<!{_LOCAL})(?!//)(?:{_LOCAL}++|"[^"\n]{{1,64}}")(?:[@\uff20]| @ )'
    rf"(?:{_LABEL}[.\u3002\uff0e])+(?![\d-]+(?!\w)){_LABEL}"
)

_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,60}-----|\Z)"
    r"|(?<![\w-])eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?"
    r"|(?<![A-Za-z0-9])(?:sk-|hf_|(?:sk|pk|rk)_(?:live|test)_)[\w-]{8,}+"
    r"|sk-ant-[\w-]{8,}+|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[\w-]{16,}+"
    r"|(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-)[\w-]{10,}+"
)
_VALUE = r"[^\s\"'`,;<>()\[\]{}&|]"
_NAMED = re.compile(
    r"(bearer\s{1,3}|(?:key|token|secret|passwor[dt]|passwd|passphrase|pwd)[\"'`]?"
    rf"(?:\s{{0,3}}(?:[:=]|=>)|\s{{1,3}}is\b)\s{{0,3}}[\"'`]?)({_VALUE}{{6,}}+)"
    rf"|((?:key|token|secret)\s{{1,3}})({_VALUE}{{16,}}+)",
    re.IGNORECASE,
)
_SECRET = re.compile(r"\d|[a-z][A-Z]|[\w+/=]{20}")

# The length of an IBAN, by country (ISO 13616, registry of December 2024).
_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_COUNTRY = "|".join(rf"(?<=([A-Za-z]{{2}})[{_SEPARATOR}]{{{n}}}\d)" for n in range(6))
_IBAN_START = re.compile(rf"\d(?:{_COUNTRY})(?=(?:{_GAP})?\d)")  # a digit first: the fastest to look for
_IBAN = {n: re.compile(rf"[A-Za-z]{{2}}(?:(?:{_GAP})?[A-Za-z\d]){{{n - 2}}}(?!\d)") for n in set(_LENGTHS.values())}

# What most texts have none of: the beginning of a key, or a word that announces one; seven digits.
_MARK = re.compile(
    r"key|token|secret|passwor|passwd|passphrase|pwd|bearer|sk-|k_live|k_test|akia|asia|aiza|eyj|gh[pousr]_|github_pat"
    r"|glpat-|xox|hf_|-----begin"
)
_SEVEN_DIGITS = re.compile(r"(?:\D*+\d){7}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the digits of twice a digit, added up


def redact(text: str) -> str:
    """`text` with [email], [phone], [card], [iban] and [key] for what they stand for; `redact` leaves its own result.

    About a microsecond for a text without "@", without seven digits and without a word such as "key". Raises TypeError
    if `text` is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text to redact must be a str, got {type(text).__name__}")
    while (redacted := _once(text)) != text:
        text = redacted
    return text


def _once(text: str) -> str:
    if "@" in text or "\uff20" in text:
        text = _EMAIL.sub("[email]", text)
    if _MARK.search(text.lower()):
        text = _NAMED.sub(_secret, _KEY.sub("[key]", text))
    if _SEVEN_DIGITS.match(text):
        text = _NUMBER.sub(_cards, _ibans(text))
        text = _CALLED.sub(r"\1[phone]", _PHONE.sub("[phone]", text))
    return text


def _secret(found: re.Match[str]) -> str:
    name, value = found[1] or found[3], found[2] or found[4]
    return f"{name}[key]" if _SECRET.search(value) else found[0]


def _ibans(text: str) -> str:
    pieces, done = [], 0
    for start in _IBAN_START.finditer(text):
        country = start.lastindex or 0
        length = _LENGTHS.get(start[country].upper())
        found = _IBAN[length].match(text, start.start(country)) if length else None
        if found and found.start() >= done and _is_iban(found[0]):
            pieces += [text[done : found.start()], "[iban]"]
            done = found.end()
    return "".join([*pieces, text[done:]])


def _is_iban(text: str) -> bool:
    """Modulo 97 (ISO 13616). Words that follow two letters and two digits have fewer digits than an IBAN has."""
    plain = [letter for letter in text if letter.isalnum()]
    values = [str(int(letter, 36)) for letter in plain[4:] + plain[:4]]
    return 3 * sum(letter.isdecimal() for letter in plain) >= len(plain) and int("".join(values)) % 97 == 1


def _cards(found: re.Match[str]) -> str:
    text = found[0]
    if not found["run"]:
        return text
    pieces, done = [], 0
    for start, end in _card_spans(text):
        if start >= done:
            pieces += [text[done:start], "[card]"]
        done = max(done, end)
    return "".join([*pieces, text[done:]])


def _card_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where neighbouring groups of digits are 13 to 19 together and pass Luhn's check (ISO/IEC 7812)."""
    groups = [group.span() for group in _DIGITS.finditer(text)]
    before = [0, *accumulate(end - start for start, end in groups)]
    if before[-1] < 13:
        return
    digits = [int(digit) for digit in text if digit.isdecimal()]
    # Luhn sums of all digits so far, for a last digit at an odd place and at an even one: any stretch is a difference.
    sums = [[0, *accumulate(d if (i + p) % 2 else _DOUBLED[d] for i, d in enumerate(digits))] for p in (0, 1)]
    for i, first in enumerate(before[:-1]):
        for j in range(i, len(groups)):
            last = before[j + 1]
            if last - first > 19:
                break
            if last - first >= 13 and (sums[last % 2][last] - sums[last % 2][first]) % 10 == 0:
                yield groups[i][0], groups[j][1]


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
