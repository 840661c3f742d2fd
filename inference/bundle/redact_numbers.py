"""IBANs, card and phone numbers: what `redact` finds by its digits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from inference.bundle.redact_ibans import with_ibans
from inference.bundle.redact_phones import phones
from inference.bundle.redact_view import MASK, mask, masked
from inference.bundle.redact_words import GLUED, JUDGED, Look, Span

# Between the letters or digits of a number: whatever is neither. An underscore is read as a space.
_GAP = rf"[^\w{MASK}]{{0,10}}+"
_CHAIN = re.compile(rf"\d(?:{_GAP}\d){{6,}}+")  # no number that is looked for has fewer digits
_LONG_CHAIN = re.compile(rf"\d(?:{_GAP}\d){{12,}}+")  # as long as a card's number
_BLUNT = re.compile(rf"\d(?:(?:[^\w{MASK}]|_){{0,10}}+\d){{6,}}+(?:{GLUED.pattern})?")
_DIGITS = re.compile(r"\d+")  # one group
_SEVEN = 7
_MOST_SEVENS = 2 * JUDGED  # of the digits judged: a card number has two sevens
_OPENING = re.compile(r"[+(][+(\s]{0,4}\Z")
_ANY_MASK = re.compile(f"[{MASK}]")
_MOST_TIMES = 2  # that what is left is judged anew
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
_UUID_DASH = re.compile(r"-(?<=[\dA-Fa-f]{8}-)[\dA-Fa-f]{4}(?:-[\dA-Fa-f]{4}){2}-[\dA-Fa-f]{12}")
_ANY_DATE = _date(r"\d\d")
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_INERT = re.compile(
    rf"{_ANY_DATE}|(?<![\d.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\d.])"  # an IP address
    r"|(?<![\d:])(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-5]\d)?(?:[.,]\d{1,9})?(?![\d:])"  # a time
    r"|(?<![\d.])(?:[01]?\d|2[0-4])\.[0-5]\d\s?[-–]\s?(?:[01]?\d|2[0-4])\.[0-5]\d(?![\d.])"  # from one time to another
    r"|(?<![\d.])(?:0|[1-9]\d{0,2})\.\d{5,}+(?![-./]\d)"  # a decimal
    r"|(?<!\d)(?<![\d)][-./, ])(?<![+(])[1-9]\d{6,8}[.,]\d\d(?![-./, ]?\d)"  # one without separators
    r"|(?<!\d)(?<!\d[-./, ])[1-9]\d{0,2}(?:([., ])\d{3})(?:\1\d{3})*+[.,]\d\d(?![-./, ]?\d)"  # an amount
)

_CARD = range(13, 20)  # its digits, ISO/IEC 7812
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # the digits of twice a digit, added up
# What people, word processors and phones put between the groups of a card. Where something else stands there, the
# groups must be a card's too, and its first digits an issuer's: else one list of numbers in ten would be a card.
_USUAL = re.compile(r"[\s.\-/\u00b7\u2010-\u2015\u2212\ufe58]{1,5}")
_ISSUED = re.compile(r"3[0-9]\d{12,17}|4(?:\d{12}|\d{15}|\d{18})|(?:[256]\d|8[126]|9792)\d{10,17}")
_GROUPED = re.compile(r"(?:4 ){3}(?:[1-4]|4 [1-3])|4 6 [45]|(\d+) (?:\1 )*\d+|\d+")


class _Piece(NamedTuple):
    """Where digits stand, and the text before them as far as it says what they are."""

    start: int
    end: int
    before: str


def numbers(reading: str, accounts: list[Span], regions: tuple[str, ...], look: Look) -> str:
    """`reading` with masks for the numbers of each kind, and for a key that is glued to one.

    `accounts`: the IBANs that were found in it before it had masks.
    """
    if accounts:
        reading = with_ibans(reading, list(_with_glued(reading, accounts)))
    plain = reading.replace("_", " ")
    if "-" in plain:
        uuids = [(found.start() - 8, found.end(), "key") for found in _UUID_DASH.finditer(look(plain))]
        plain = _blank_spans(plain, uuids)
    spans: list[Span] = []
    judged = _numbers(plain, regions, look, spans)
    reading = masked(reading, _with_glued(reading, sorted(spans)))
    if judged == len(reading):
        return reading
    rest = _BLUNT.sub(lambda found: mask("phone", len(found[0])), look(reading[judged:]))
    return reading[:judged] + rest


def _blank_spans(plain: str, spans: list[Span]) -> str:
    pieces, done = [], 0
    for start, end, _ in spans:
        pieces += [plain[done:start], "x" * (end - max(start, done))]
        done = end
    return "".join([*pieces, plain[done:]])


def _numbers(plain: str, regions: tuple[str, ...], look: Look, spans: list[Span]) -> int:
    """Add the numbers in `plain` to `spans`, up to as many digits as are judged; the place where that ends."""
    left, done = _MOST_SEVENS, 0
    for found in _CHAIN.finditer(look(plain)):
        left -= _count(found[0][: 11 * _SEVEN * (left + 1)]) // _SEVEN
        if left <= 0:
            return found.start()
        start, end = _opened(plain, done, found)
        before = _unmasked(plain[max(done, start - _BEFORE) : start])
        spans += _judged(plain, _Piece(start, end, before), regions, look)
        done = found.end()
    return len(plain)


def _unmasked(before: str) -> str:
    return _ANY_MASK.split(before)[-1]


def _opened(plain: str, done: int, found: re.Match[str]) -> tuple[int, int]:
    """A chain with the "+" and the brackets before it, but for what belongs to another."""
    opening = _OPENING.search(plain[max(done, found.start() - 5) : found.start()])
    return found.start() - (len(opening[0]) if opening else 0), found.end()


def _count(digits: str) -> int:
    return sum(map(str.isdecimal, digits))


def _judged(plain: str, piece: _Piece, regions: tuple[str, ...], look: Look, depth: int = 0) -> Iterator[Span]:
    """The numbers in a piece; what is left of it beside them is judged anew, as it will be when they are gone."""
    if depth > _MOST_TIMES:
        yield piece.start, piece.end, "phone"
        return
    written = look(plain[piece.start : piece.end])
    spans = _cards(_blank(_FULL_DATE, written)) or _phones(_blank(_INERT, written), plain, piece, regions)
    if not spans:
        return
    done, before = piece.start, piece.before
    for start, end, kind in spans:
        start, end = start + piece.start, end + piece.start
        yield from _rest(plain, _Piece(done, start, before), regions, look, depth + 1)
        yield start, end, kind
        done, before = end, ""
    yield from _rest(plain, _Piece(done, piece.end, before), regions, look, depth + 1)


def _rest(plain: str, part: _Piece, regions: tuple[str, ...], look: Look, depth: int) -> Iterator[Span]:
    for found in _CHAIN.finditer(plain, part.start, part.end):
        start, end = _opened(plain, part.start, found)
        yield from _judged(plain, _Piece(start, end, _before(part, plain, start)), regions, look, depth)


def _before(piece: _Piece, plain: str, place: int) -> str:
    return (piece.before + plain[piece.start : place])[-_BEFORE:]


def _blank(pattern: re.Pattern[str], written: str) -> str:
    if written.isdecimal():
        return written
    for _ in range(2):  # in "24.11.2026-01.12.2026" the second is seen when the first is gone
        written, count = pattern.subn(lambda found: "x" * len(found[0]), written)
        if not count:
            break
    return written


def _phones(written: str, plain: str, piece: _Piece, regions: tuple[str, ...]) -> list[Span]:
    """The phone numbers of each chain that is left once dates, times, amounts and the like are blank."""
    spans = []
    for chain in _CHAIN.finditer(written):
        start, end = _opened(written, 0, chain)
        before = _before(piece, plain, piece.start + start)
        after = plain[piece.start + end : piece.start + end + 1]
        spans += [(*found, "phone") for found in phones(written, start, end, before, after, regions)]
    return spans


def _cards(written: str) -> list[Span]:
    spans: list[Span] = []
    for run in _LONG_CHAIN.finditer(written):
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
