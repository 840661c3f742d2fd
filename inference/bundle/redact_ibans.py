"""IBANs: found by country and check digits, judged by their length and their sum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from inference.bundle.redact_view import MASK, masked, masks
from inference.bundle.redact_words import Look, Span

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
_IBAN_GAP = rf"(?:[^\w{MASK}]|_){{0,10}}+"
_IBAN_START = re.compile(rf"[A-Za-z](?=([A-Za-z]){_IBAN_GAP}\d{_IBAN_GAP}\d)")
_BEFORE_ACCOUNT = 4  # letters and digits before the account itself: the country's and the check digits
_LONGEST_START = 64  # characters in which there are so many, with the gaps between them
_POINTS, _PRICE = 64, 8  # a candidate costs a point, and more where its number is reckoned
_OF_LENGTH = {
    length: re.compile(rf"[A-Za-z]{{2}}(?:{_IBAN_GAP}[A-Za-z0-9]){{{length - 2}}}") for length in set(_LENGTHS.values())
}


def ibans(reading: str, look: Look) -> Iterator[Span]:
    """Where the IBANs of `reading` are; after so many that might be one, whatever looks like one."""
    left, done = _POINTS, 0
    for start in _IBAN_START.finditer(look(reading)):
        place, length = start.start(), _LENGTHS.get((start[0] + start[1]).upper())
        if not length or place < done:
            continue
        chain = _OF_LENGTH[length].match(reading, place)
        if chain is None:
            continue
        end = chain.end()
        if left > 0:
            left -= 1
            if 3 * sum(map(str.isdecimal, chain[0])) < length:  # words that follow two letters and two digits
                continue
            left -= _PRICE
            if not _ends(look(chain[0]), reading[end : end + 1]):
                continue
        yield place, end, "iban"
        done = end


def with_ibans(reading: str, found: list[Span]) -> str:
    """`reading` with masks for IBANs that were found in it before it had its own.

    Where both overlap they become one mask of the kind that begins first, so that nothing is left of either. But a
    secret after "is" may look like Iceland's: what begins no later than an account does, and ends no sooner, stays.
    """
    apart: list[Span] = []
    for start, end, kind in sorted([*masks(reading), *found]):
        if apart and start < apart[-1][1]:
            first, last, known = apart.pop()
            if end < last or _count(reading[first : min(start, first + _LONGEST_START)]) > _BEFORE_ACCOUNT:
                start, end, kind = first, max(end, last), known
        apart.append((start, end, kind))
    return masked(reading, apart)


def _count(written: str) -> int:
    return sum(map(str.isalnum, written))


def _ends(chain: str, next_letter: str) -> bool:
    """Whether letters and digits are an IBAN: their number leaves 1 modulo 97 (ISO 13616), and does not go on."""
    if chain[-1].isdecimal() and next_letter.isdecimal():
        return False
    letters = [letter for letter in chain if letter.isalnum()]
    return int("".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])) % 97 == 1
