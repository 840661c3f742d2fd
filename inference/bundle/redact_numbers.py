"""IBANs, card and phone numbers: what `redact` finds by its digits, which may be those of any script."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from inference.bundle.redact_words import GLUED, Look

# What people, word processors and phones put between the digits of a number, invisible characters included.
_SEPARATOR = (
    r"\s.\-/_\u00ad\u00b7\u180e\u200b-\u200f\u2010-\u2015\u202a-\u202e\u2060-\u2069\u2212\ufe58\ufe63\ufeff\uff0d\uff0e"
)
_GAP = rf"[{_SEPARATOR}]{{1,5}}+"


def _date(year: str) -> str:
    """A date that ends or begins with `year`: its digits are nobody's number. What it begins with is tried first."""
    month, day, full_year = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
    dates = (
        rf"(?:{full_year}{s}{month}{s}{day}|{day}{s}{day}{s}(?:{full_year}|{year}))(?!{s}?\d)"
        for s in ("-", r"\.", "/")
    )
    return rf"(?=\d{{1,4}}[-./]\d)(?<!\d)(?<!\d[-./])(?:{'|'.join(dates)})"


# A card's groups may look like "01.02.26", a phone number's do not.
_FULL_DATE, _ANY_DATE = _date(r"(?:19|20)\d\d"), _date(r"\d\d")
# Its digits are nobody's number either. Nothing may begin in front of it and end in it: the rest would be one no more.
_UUID = r"[\dA-Fa-f]{8}(?:-[\dA-Fa-f]{4}){3}-[\dA-Fa-f]{12}"

# Groups of digits with what people put between them, to be searched for cards. Possessive: it reads each digit once.
_NUMBER = re.compile(rf"(?=[\dA-Fa-f])(?:{_FULL_DATE}|{_UUID}|(?P<run>\d++(?:{_GAP}(?!{_FULL_DATE}|{_UUID})\d++)*+))")
_DIGITS = re.compile(r"\d+")  # one group
_CARD = range(13, 20)  # its digits, ISO/IEC 7812
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the digits of twice a digit, added up

# The next digit of a phone number, with what stands before it; where a date or a UUID begins, the number has ended.
_NEXT = rf"(?:[{_SEPARATOR}()]{{1,5}}+(?!{_ANY_DATE}|{_UUID})|)\d"
# What goes on after a dash, a dot or a slash is an order number, a version or the like.
_END = r"(?!\d)(?![-./]\d)"
_ZERO = "[0\u0660\u06f0\u0966\u09e6\u0e50\uff10]"
_SOME = rf"(?!{_ZERO})\d"
# "+", perhaps a bracket, the country's number.
_ABROAD = rf"[+\uff0b][{_SEPARATOR}(]{{0,3}}(?!{_UUID}){_SOME}(?:{_NEXT}){{7,14}}(?!\d)"
# 00 and the country, 0 and the area, the area in brackets, a short number after its area, or North America's 3-3-4.
_AT_HOME = (
    rf"(?=[\d(])(?!{_ANY_DATE})(?!\(?{_UUID})"
    rf"(?:\(?{_ZERO}{_ZERO}{_SOME}(?:{_NEXT}){{8,13}}|\(?{_ZERO}{_SOME}(?:{_NEXT}){{7,10}}"
    rf"|\(\d{{2,5}}\)(?:{_NEXT}){{6,10}}|\(?{_ZERO}{_SOME}\d{{1,2}}\)?[\s/]{{1,3}}\d{{4}}"
    rf"|(?:1{_GAP})?\d{{3}}{_GAP}\d{{3}}{_GAP}\d{{4}}){_END}"
)
# After a word such as "call" any seven digits are a phone number; the words between the two are few and known.
_ANY_NUMBER = rf"(?!{_ANY_DATE})(?!\(?{_UUID})\(?\d(?:{_NEXT}){{6,14}}{_END}"
_CALL = (
    r"(?i:(?:cell|smart)?phone|tel(?:ephone|efon)?|mobile|handy|cell|fax|whatsapp|sms|call|text|ring|reach|dial"
    r"|contact)"
)
_SAID = (
    rf"{_CALL}(?i:[\s:=.,#-]{{0,3}}(?:me|us|him|her|back|numbers?|no|nr|is|are|at|on|under|via|to|my|our|the|it)"
    r"(?!\w)){0,5}[\s:=.,#-]{0,3}|(?i:my number(?: is|:) {0,2})"
)
# A word that is no phone number, with what is glued to it, where none begins; and the words after it, to save time.
_WORD = r"\w++(?:[-./]\d\w*+)*+(?:[-./]?\()?"
_WORDS = rf"{_WORD}(?:[^\w+\uff0b(\]]++(?!{_CALL}|(?i:my number))(?=[^\W\d]){_WORD})*+"
# Reads a text piece by piece, and no piece depends on the one before it: what follows a phone number is read as it will
# be when [phone] stands there. Hence no look-behind; else a number glued to a number would be seen once that is gone.
_PHONE = re.compile(
    rf"(?P<phone>(?:{_ABROAD}|(?=[^\W\d])(?P<said>{_SAID})(?:{_AT_HOME}|{_ANY_NUMBER})|{_AT_HOME})(?:{GLUED})?+)"
    rf"|(?P<key>(?<=(?:card|iban)\]){GLUED})|{_WORDS}"
)

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
# Where the check digits begin, with the country before them; a digit first, since that is the fastest to look for.
_COUNTRY = "|".join(rf"(?<=([A-Za-z]{{2}})[{_SEPARATOR}]{{{n}}}\d)" for n in range(6))
_IBAN_START = re.compile(rf"\d(?:{_COUNTRY})(?=(?:{_GAP})?\d)")
# All letters and digits that an IBAN may take up. Possessive: the IBANs of one chain are told from one reading of it.
_CHAIN = re.compile(rf"[A-Za-z\d]++(?:{_GAP}[A-Za-z\d]++)*+")
_TENS = [pow(10, n, 97) for n in range(96)]  # the 96th power leaves 1 again


def numbers(text: str, look: Look) -> str:
    """`text` with [iban], [card] and [phone] for the numbers of each kind, and [key] for a key glued to one."""

    def cards(found: re.Match[str]) -> str:
        run = found["run"]
        return _without_cards(run, look) if run and len(run) >= _CARD[0] else found[0]

    text = _NUMBER.sub(cards, look(_without_ibans(text, look)))
    return _PHONE.sub(_phone, look(text))


def _phone(found: re.Match[str]) -> str:
    if found.lastgroup is None:
        return found[0]
    return f"{found['said'] or ''}[phone]" if found["phone"] else "[key]"


def _without_ibans(text: str, look: Look) -> str:
    pieces, done, chain = [], 0, None
    for start in _IBAN_START.finditer(look(text)):
        group = start.lastindex or 0
        place, length = start.start(group), _LENGTHS.get(start[group].upper())
        if not length or place < done:
            continue
        if chain is None or place >= chain.end:
            chain = _Chain(text, place, look)
        if end := chain.iban(place, length):
            pieces += [text[done:place], "[iban]"]
            done = end
    return "".join([*pieces, text[done:]])


class _Chain:
    """Letters and digits from a place in a text on, without the gaps between them, read once for all IBANs in them."""

    def __init__(self, text: str, place: int, look: Look) -> None:
        found = _CHAIN.match(text, place)
        written = look(found[0]) if found else ""
        self.text, self.end = text, place + len(written)
        self.places = [i for i, letter in enumerate(written, place) if letter.isalnum()]
        values = [int(text[i], 36) for i in self.places]
        self.digits = [0, *accumulate(value < 10 for value in values)]
        self.remainders = [0, *accumulate(values, _with_value)]

    def iban(self, place: int, length: int) -> int | None:
        """Where the IBAN ends that begins at `place`, if there is one: its number leaves 1 modulo 97 (ISO 13616).

        Words that follow two letters and two digits have fewer digits than an IBAN has.
        """
        first = bisect_left(self.places, place)
        last = first + length
        if last > len(self.places) or 3 * (self.digits[last] - self.digits[first]) < length:
            return None
        end = self.places[last - 1] + 1
        if self.digits[last] > self.digits[last - 1] and self.text[end : end + 1].isdecimal():
            return None  # the number goes on
        country = self._power(first, first + 4)
        remainder = self._remainder(first + 4, last) * country + self._remainder(first, first + 4)
        return end if remainder % 97 == 1 else None

    def _power(self, first: int, last: int) -> int:
        """Ten to the number of digits, of which a letter stands for two."""
        return _TENS[(2 * (last - first) - (self.digits[last] - self.digits[first])) % 96]

    def _remainder(self, first: int, last: int) -> int:
        return (self.remainders[last] - self.remainders[first] * self._power(first, last)) % 97


def _with_value(remainder: int, value: int) -> int:
    return (remainder * (10 if value < 10 else 100) + value) % 97


def _without_cards(run: str, look: Look) -> str:
    pieces, done = [], 0
    for start, end in _card_spans(run, look):
        if start >= done:
            pieces += [run[done:start], "[card]"]
        done = max(done, end)
    return "".join([*pieces, run[done:]])


def _card_spans(run: str, look: Look) -> Iterator[tuple[int, int]]:
    """Where neighbouring groups of digits are 13 to 19 together and pass Luhn's check (ISO/IEC 7812)."""
    digits: list[int] = []
    starts, ends = [], {}  # of the groups: how many digits come before, and the place in the run
    for found in _DIGITS.finditer(look(run)):
        starts.append((len(digits), found.start()))
        digits += map(int, found[0])
        ends[len(digits)] = found.end()
    # Luhn's sums up to each place, for an even last place and for an odd one: a stretch passes if its ends are equal.
    even, odd = list(digits), list(digits)
    even[0::2] = [_DOUBLED[digit] for digit in digits[0::2]]
    odd[1::2] = [_DOUBLED[digit] for digit in digits[1::2]]
    evens, odds = ([0, *accumulate(doubled, lambda total, digit: (total + digit) % 10)] for doubled in (even, odd))
    for first, start in starts:
        for last in range(first + _CARD[0], first + _CARD[-1] + 1):
            if last in ends and (odds[last] == odds[first] if last % 2 else evens[last] == evens[first]):
                yield start, ends[last]
