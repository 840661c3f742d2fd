"""IBANs, card and phone numbers: what `redact` finds by its digits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from inference.bundle.redact_phones import is_national
from inference.bundle.redact_view import MASK, masked
from inference.bundle.redact_words import GLUED, JUDGED, Look

Span = tuple[int, int, str]  # start, end, kind

# Between the letters or digits of a number: whatever is neither. An underscore is read as a space.
_GAP = rf"[^\w{MASK}]{{0,10}}+"
_CHAIN = re.compile(rf"(?:[+(]\s?){{0,3}}\d(?:{_GAP}\d){{6,}}+")  # no number that is looked for has fewer digits
_DIGITS = re.compile(r"\d+")  # one group
_SEVEN = 7
_MOST_SEVENS = 2 * JUDGED  # of the digits judged: a card number has two sevens
_BEFORE = 60  # characters before a number that are read for a word which says what it is


def _date(year: str) -> str:
    """A date that ends or begins with `year`: its digits are nobody's number. What it begins with is tried first."""
    month, day, full_year = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
    dates = (
        rf"(?:{full_year}{s}{month}{s}{day}|{day}{s}{day}{s}(?:{full_year}|{year}))(?!{s}?\d)"
        for s in ("-", r"\.", "/")
    )
    return rf"(?=\d{{1,4}}[-./]\d)(?<!\d)(?<!\d[-./])(?:{'|'.join(dates)})"


# A card's groups may look like "01.02.26", a phone number's do not.
_FULL_DATE = re.compile(_date(r"(?:19|20)\d\d"))
_UUID = re.compile(r"(?<![\dA-Fa-f])[\dA-Fa-f]{8}(?:-[\dA-Fa-f]{4}){3}-[\dA-Fa-f]{12}")
_ANY_DATE = _date(r"\d\d")
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_INERT = re.compile(
    rf"{_ANY_DATE}|(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d.])"  # an IP address
    r"|(?<![\d:])(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d)?(?:[.,]\d{1,9})?(?![\d:])"  # a time
    r"|(?<![\d.])(?:[01]?\d|2[0-4])\.[0-5]\d\s?[-–]\s?(?:[01]?\d|2[0-4])\.[0-5]\d(?![\d.])"  # from one time to another
    r"|(?<!\d)(?:0|[1-9]\d{0,2})\.\d{5,}+(?![-./]\d)"  # a decimal
    r"|(?<!\d)(?<!\d[-./, ])[1-9]\d{0,2}(?:([., ])\d{3})(?:\1\d{3})*+[.,]\d\d(?![-./, ]?\d)"  # an amount
)

_CARD = range(13, 20)  # its digits, ISO/IEC 7812
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the digits of twice a digit, added up
# What people, word processors and phones put between the groups of a card. Where something else stands there, the
# groups must be a card's too, and its first digits an issuer's: else one list of numbers in ten would be a card.
_USUAL = re.compile(r"[\s.\-/\u00b7\u2010-\u2015\u2212\ufe58]{1,5}")
_ISSUED = re.compile(r"3[0-9]\d{12,17}|4(?:\d{12}|\d{15}|\d{18})|(?:[256]\d|8[126]|9792)\d{10,17}")
_GROUPED = re.compile(r"(?:4 ){3}(?:[1-4]|4 [1-3])|4 6 [45]|(\d+) (?:\1 )*\d+|\d+")

_END = r"(?!\d)(?![-./]\d)"  # what goes on after a dash, a dot or a slash is an order number, a version or the like
_NEXT = r"\D*+\d"  # in a chain, whose gaps are short
_PHONE = re.compile(
    rf"\+\D{{0,3}}\d(?:{_NEXT}){{6,14}}(?!\d)"  # with its country
    rf"|(?<!\d)(?:\(?00[1-9](?:{_NEXT}){{7,12}}|\(?0[1-9](?:{_NEXT}){{7,10}}"  # its country, or its area
    rf"|\(\d{{2,5}}\)(?:{_NEXT}){{6,10}}|\(?0[1-9]\d{{1,2}}\)?[\s/]{{1,3}}\d{{4}}"  # an area, with a short number
    rf"|(?:1\D{{1,10}})?\(?[2-9]\d\d\D{{1,10}}\d{{3}}\D{{1,10}}\d{{4}}){_END}"  # North America
)
_ANY = re.compile(rf"\D{{0,3}}\d(?:{_NEXT}){{6,14}}{_END}")
_BARE = range(_SEVEN, 13)  # digits of a number that nothing announces
_SAID = re.compile(
    r"(?i)(?:(?:cell|smart)?phone|tel(?:e[fp]h?on[eo]?)?|m[oó]b[iy]le?|handy|cell|fax|whatsapp|signal|sms|call|text|ring"
    r"|reach|dial|contact|rufnummer|r[uü]ckruf|portable|m[oó]vil|celular|cellulare|телефон|电话|手机|電話|携帯|전화)"
    r"(?:[\s:=.,#()-]{0,3}(?:me|us|him|her|back|numbers?|nummer|no|nr|is|ist|are|at|on|under|unter|via|to|my|our|the|it)"
    r"(?!\w)){0,5}[^\w]{0,10}\Z|(?i:my number(?: is|:)?[^\w]{0,10}\Z)"
)
_REFERENCE = re.compile(
    r"(?i)(?:\b(?:order|ticket|case|invoice|ref|reference|claim|booking|contract|transaction|serial|account|acct|policy"
    r"|property|tracking|parcel|shipment|chat|terminal|id|code|error|version|build|row|line|vat|rx|sku|item|article|model"
    r"|product|reg|registration|patient|member|customer|client|flight|job|file|slip|bytes|size|root|average|no|nr|num"
    r"|bestellung|auftrag|rechnung|vorgang|vertrag|kunde|commande|facture|pedido|factura|ordine|fattura|zam[oó]wienie)s?"
    r"|\w{3,20}(?:nummer|nr)|#)(?:[\s.:#(]{1,3}(?:no|nr|number|num|nummer|id|code|is|was|of|are|ending)(?!\w)){0,3}"
    r"[\s.:#(=\"'-]{0,5}\Z"
)
_CODE = re.compile(r"[^\W\d][-#/.:]?\Z|#\Z")  # digits that go on from letters


class _Piece(NamedTuple):
    """Where digits stand, and the text before them as far as it says what they are."""

    start: int
    end: int
    before: str


def numbers(reading: str, regions: tuple[str, ...], look: Look) -> str:
    """`reading` with masks for the numbers of each kind, and for a key that is glued to one."""
    reading = masked(reading, ibans(reading, look))
    plain = look(reading.replace("_", " "))
    if "-" in plain:
        plain = _UUID.sub(lambda found: "x" * len(found[0]), look(plain))
    return masked(reading, _with_glued(reading, sorted(_numbers(plain, regions, look))))


def _numbers(plain: str, regions: tuple[str, ...], look: Look) -> Iterator[Span]:
    left, done = _MOST_SEVENS, 0
    for found in _CHAIN.finditer(look(plain)):
        left -= _count(found[0]) // _SEVEN if left > 0 and len(found[0]) <= 11 * _SEVEN * left else left + 1
        if left < 0:
            yield *found.span(), "phone"
            continue
        before = plain[max(done, found.start() - _BEFORE) : found.start()]
        yield from _judged(plain, _Piece(*found.span(), before), regions, look)
        done = found.end()


def _count(digits: str) -> int:
    return sum(map(str.isdecimal, digits))


def _judged(plain: str, piece: _Piece, regions: tuple[str, ...], look: Look) -> Iterator[Span]:
    """The numbers in a piece; what is left of it beside them is judged anew, as it will be when they are gone."""
    written = look(plain[piece.start : piece.end])
    spans = _cards(_blank(_FULL_DATE, written)) or _phones(_blank(_INERT, written), plain, piece, regions)
    if not spans:
        return
    done, before = piece.start, piece.before
    for start, end, kind in spans:
        start, end = start + piece.start, end + piece.start
        yield from _rest(plain, _Piece(done, start, before), regions, look)
        yield start, end, kind
        done, before = end, ""
    yield from _rest(plain, _Piece(done, piece.end, before), regions, look)


def _rest(plain: str, part: _Piece, regions: tuple[str, ...], look: Look) -> Iterator[Span]:
    for found in _CHAIN.finditer(plain, part.start, part.end):
        before = (part.before + plain[part.start : found.start()])[-_BEFORE:]
        yield from _judged(plain, _Piece(*found.span(), before), regions, look)


def _blank(pattern: re.Pattern[str], written: str) -> str:
    for _ in range(2):  # in "24.11.2026-01.12.2026" the second is seen when the first is gone
        written = pattern.sub(lambda found: "x" * len(found[0]), written)
    return written


def _phones(written: str, plain: str, piece: _Piece, regions: tuple[str, ...]) -> list[Span]:
    """The first phone number of each chain that is left once dates, times, amounts and the like are blank."""
    spans = []
    for chain in _CHAIN.finditer(written):
        before = (piece.before + plain[piece.start : piece.start + chain.start()])[-_BEFORE:]
        found = _PHONE.search(written, *chain.span())
        if _SAID.search(before):
            found = _ANY.match(written, *chain.span()) or found
        if found:
            spans.append((*found.span(), "phone"))
        elif _bare(chain[0], before, plain[piece.start + chain.end() :][:1], regions):
            spans.append((*chain.span(), "phone"))
    return spans


def _bare(chain: str, before: str, after: str, regions: tuple[str, ...]) -> bool:
    """Whether digits without "+", a leading 0 or a word such as "call" are a phone number."""
    groups = _DIGITS.findall(chain)
    digits = "".join(groups)
    if len(digits) not in _BARE or digits[:2] == "00" or len(set(digits)) == 1 or after.isalpha():
        return False
    if len(groups) > 5 or (len(groups) > 1 and len(groups[0]) == 1 and not (digits[0] in "178" and len(digits) > 9)):
        return False
    if re.search(r", |\s[+*/=]\s|\A(?:19|20)\d\d[-/]|\A[1-9]\d?(?:[,.]\d{3})+\Z", chain):
        return False  # a list, a sum, a year's number, a thousand
    return not (_CODE.search(before) or _REFERENCE.search(before)) and is_national(digits, regions)


def _cards(written: str) -> list[Span]:
    spans: list[Span] = []
    for run in _CHAIN.finditer(written):
        for start, end in _card_spans(run[0]):
            start, end = start + run.start(), end + run.start()
            if spans and start < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]), "card")
            else:
                spans.append((start, end, "card"))
    return spans


def _card_spans(run: str) -> Iterator[tuple[int, int]]:
    """Where neighbouring groups of digits are 13 to 19 together and pass Luhn's check (ISO/IEC 7812)."""
    digits: list[int] = []
    starts, ends = [], {}  # of the groups: how many digits come before, and the place in the run
    for found in _DIGITS.finditer(run):
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
            fits = last in ends and (odds[last] == odds[first] if last % 2 else evens[last] == evens[first])
            if fits and _like_a_card(run[start : ends[last]]):
                yield start, ends[last]


def _like_a_card(written: str) -> bool:
    groups = _DIGITS.findall(written)
    if all(_USUAL.fullmatch(gap) for gap in re.findall(r"\D+", written)):
        return True
    return bool(_ISSUED.fullmatch("".join(groups)) and _GROUPED.fullmatch(" ".join(str(len(g)) for g in groups)))


def _with_glued(reading: str, spans: list[Span]) -> Iterator[Span]:
    """The spans, each with the key that begins where it ends: it will be seen as one when the number is gone."""
    done = 0
    for start, end, kind in spans:
        if end <= done:
            continue  # the key goes on into this number
        yield max(start, done), end, kind
        done = end
        if glued := GLUED.match(reading, end):
            yield *glued.span(), "key"
            done = glued.end()


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
    return 3 * _count(chain[: 11 * length]) >= length


def _iban_end(chain: str, length: int, reading: str, place: int) -> int | None:
    """Where the IBAN ends that begins with `chain`, if there is one: its number leaves 1 modulo 97 (ISO 13616)."""
    places = [i for i, letter in enumerate(chain) if letter.isalnum()][:length]
    if len(places) < length:
        return None
    end = place + places[-1] + 1
    letters = [chain[i] for i in places]
    if 3 * sum(map(str.isdecimal, letters)) < length or (letters[-1].isdecimal() and reading[end : end + 1].isdecimal()):
        return None
    number = "".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])
    return end if int(number) % 97 == 1 else None
