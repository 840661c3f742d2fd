"""A text as the recognisers read it, and the way back: what was found in that reading, replaced in the text itself.

The reading is the text with %- and HTML-escapes decoded, full-width, styled and other scripts' digits as ASCII, and
invisible and combining characters left out. What is found is masked by as many characters as it has: the places in the
reading stay what they are, and a mask ends whatever comes before it and begins nothing.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

KINDS = ("email", "phone", "card", "iban", "key")
_STARTS, _REST = "\ue000\ue001\ue002\ue003\ue004", "\ue005"
MASK = f"{_STARTS[0]}-{_REST}"  # inside a character class; private use: neither letter, digit, space nor underscore
_SHOWN = {start: f"[{kind}]" for start, kind in zip(_STARTS, KINDS, strict=True)}
_MASKED = re.compile(f"[{_STARTS}]{_REST}*+")
_PLACEHOLDER = re.compile(rf"\[({'|'.join(KINDS)})\]")
_ESCAPE = re.compile(
    r"(%(?:[0-7][0-9A-Fa-f]|[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}+)"
    r"|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,16}[0-9]{0,2});)"
)
# It separates the groups of a number as a space does, but does not end a URL: a password in one may have such escapes.
_ESCAPED_SPACE = "\u00b7"
# Where characters are that look like ASCII ones or like nothing: up to CJK, then what compatibility needs.
_BLOCKS = (
    *((0xA0, 0x3400), (0xA620, 0xAC00), (0xE000, 0xE006), (0xFB00, 0x10000)),
    *((0x1D400, 0x1D800), (0x1F100, 0x1F200), (0xE0000, 0xE0200)),
)


def mask(kind: str, size: int) -> str:
    """What stands for `size` characters of a secret of this kind while others are looked for."""
    return _STARTS[KINDS.index(kind)] + _REST * (size - 1)


def masked(reading: str, spans: Iterable[tuple[int, int, str]]) -> str:
    """`reading` with masks for spans (start, end, kind), which are in order and do not overlap."""
    pieces, done = [], 0
    for start, end, kind in spans:
        pieces += [reading[done:start], mask(kind, end - start)]
        done = end
    return "".join([*pieces, reading[done:]]) if pieces else reading


def masks(reading: str) -> list[tuple[int, int, str]]:
    """The masks in `reading`: start, end, kind."""
    return [(*found.span(), KINDS[_STARTS.index(found[0][0])]) for found in _MASKED.finditer(reading)]


def unlike_its_reading(text: str) -> bool:
    """Whether `text` has to be decoded before anything is looked for in it."""
    if ("%" in text or "&" in text) and _ESCAPE.search(text):
        return True
    return not text.isascii() and _odd().search(text) is not None


class Reading:
    """`text` as it is read: `reading`, and the place in the text of each of its characters where that is another."""

    def __init__(self, text: str) -> None:
        self.text, self.reading = text, text
        self._places: list[int] | None = None
        if unlike_its_reading(text):
            self.reading, self._places = _decoded(text)
        if "[" in self.reading:
            self.reading = _PLACEHOLDER.sub(lambda found: mask(found[1], len(found[0])), self.reading)

    def with_placeholders(self, reading: str) -> str:
        """The text with a placeholder for each mask in `reading`."""
        pieces, done = [], 0
        for found in _MASKED.finditer(reading):
            start, end = found.span()
            if self._places is not None:
                start, end = self._places[start], self._places[end]
            pieces += [self.text[done:start], _SHOWN[reading[found.start()]]]
            done = end
        return "".join([*pieces, self.text[done:]]) if pieces else self.text


def _decoded(text: str) -> tuple[str, list[int]]:
    read, places = text, list(range(len(text)))
    if "%" in text or "&" in text:
        read, places = _unescaped(text)
    if not read.isascii():
        forms = _forms()
        letters = [forms.get(letter, letter) for letter in read]
        read, places = "".join(letters), [place for place, letter in zip(places, letters, strict=True) if letter]
    return read, [*places, len(text)]


def _unescaped(text: str) -> tuple[str, list[int]]:
    pieces: list[str] = []
    places: list[int] = []
    place = 0
    for piece in _ESCAPE.split(text):  # every second one is an escape
        letter = _letter(piece) if len(pieces) % 2 else ""
        pieces.append(letter or piece)
        places += [place] if letter else range(place, place + len(piece))
        place += len(piece)
    return "".join(pieces), places


@functools.lru_cache(1024)
def _letter(escape: str) -> str:
    """What an escape stands for; nothing where it is none."""
    found = unquote(escape) if escape[0] == "%" else html.unescape(escape)
    if escape[0] == "%" and found.isspace():
        return _ESCAPED_SPACE
    return found if len(found) == 1 and found != "\ufffd" else ""


@functools.cache
def _forms() -> dict[str, str]:
    """What odd characters are read as: one ASCII character, or nothing."""
    letters = (chr(code) for first, last in _BLOCKS for code in range(first, last))
    return {letter: form for letter in letters if (form := _form(letter)) is not None}


def _form(letter: str) -> str | None:
    if letter in MASK or unicodedata.category(letter) in ("Mn", "Me", "Cf", "Co"):
        return ""
    if letter == "\u0130":  # the only letter that is two in lower case
        return "i"
    form = str(unicodedata.decimal(letter, "")) or unicodedata.normalize("NFKC", letter)
    return form if len(form) == 1 and form.isascii() and not form.isspace() else None


@functools.cache
def _odd() -> re.Pattern[str]:
    letters = "".join(letter for letter in _forms() if letter <= "\uffff")
    return re.compile(f"[{re.escape(letters)}\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff\U000e0000-\U000e01ff]")
