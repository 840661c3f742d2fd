"""IBANs: found by country and check digits, judged by their length and their sum."""

from __future__ import annotations

import re
from collections.abc import Iterator

from inference.bundle.redact_view import MASK
from inference.bundle.redact_words import JUDGED, Look, Span

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
_IBAN = re.compile(rf"[A-Za-z]{{2}}(?:{_IBAN_GAP}[A-Za-z0-9]){{13,31}}+")
_BLUNT_IBAN = re.compile(rf"[A-Za-z]{{2}}{_IBAN_GAP}\d{_IBAN_GAP}\d(?:{_IBAN_GAP}[A-Za-z0-9]){{11,31}}+")


def ibans(reading: str, look: Look) -> Iterator[Span]:
    """Where the IBANs of `reading` are; after so many that might be one, whatever looks like one."""
    left, done = JUDGED, 0
    for start in _IBAN_START.finditer(look(reading)):
        place, length = start.start(), _LENGTHS.get((start[0] + start[1]).upper())
        if not length or place < done:
            continue
        chain = _IBAN.match(reading, place) if left else _BLUNT_IBAN.match(reading, place)
        if chain is None or (left and not _enough_digits(chain[0], length)):
            continue
        left -= bool(left)
        end = chain.end() if _BLUNT_IBAN is chain.re else _iban_end(look(chain[0]), length, reading, place)
        if end:
            yield place, end, "iban"
            done = end


def _enough_digits(chain: str, length: int) -> bool:
    """Words that follow two letters and two digits have fewer digits than an IBAN has."""
    return 3 * sum(map(str.isdecimal, chain[: 11 * length])) >= length


def _iban_end(chain: str, length: int, reading: str, place: int) -> int | None:
    """Where the IBAN ends that begins with `chain`, if there is one: its number leaves 1 modulo 97 (ISO 13616)."""
    places = [i for i, letter in enumerate(chain) if letter.isalnum()][:length]
    if len(places) < length:
        return None
    end = place + places[-1] + 1
    letters = [chain[i] for i in places]
    if 3 * sum(map(str.isdecimal, letters)) < length or (
        letters[-1].isdecimal() and reading[end : end + 1].isdecimal()
    ):
        return None
    number = "".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])
    return end if int(number) % 97 == 1 else None
