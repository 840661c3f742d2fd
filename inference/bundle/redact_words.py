"""Logins in URLs, e-mail addresses, keys and passwords: what `redact` finds by its letters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

from inference.bundle.redact_catalogue import (
    FOREIGN_MARKER,
    KEY,
    KEY_NAMES,
    KNOWN_DOMAIN,
    LONG_WORD,
    MARKER,
    PIN_NAMES,
    SCHEMES,
    SPACELESS,
    is_made_by_machine,
)
from inference.bundle.redact_view import MASK, mask, masked

Look = Callable[[str], str]  # takes the text that a scan is about to read, counts it and returns it
Span = tuple[int, int, str]  # start, end, kind
JUDGED = 16  # candidates of one sort: what comes after them is replaced without a second look

# A private key, to its last line or to the end of the text.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,60}-----|\Z)"
)
# What would be a key once the number that it is glued to is gone. To the end of the word, so that no date is cut.
GLUED = re.compile(r"(?:eyJ|sk-|hf_|[spr]k_(?:live|test)_)[\w./-]*+")

_SCHEME = re.compile(r":\s{0,3}\\?/\s{0,3}\\?/\s{0,3}")  # JSON may escape the slashes
_URL = re.compile(rf"(?:[^\s\"'<>`:{MASK}]|:(?!//)){{1,300}}+")
_AUTHORITY = re.compile(r"[^/?#]*")
_PORT = re.compile(r"[^:]*(?::\d*)?(?![^/?#])")
_ODD_LOGIN = re.compile(r"[^@]*(?=@)(?:@[^@/?#]*(?=@))*")  # its password has a slash in it, and perhaps an "@" after
# A token with a slash in it, where what comes before the slash can hardly be a host and what comes after the "@" can.
_TOKEN_LOGIN = re.compile(
    r"(?!localhost)[^.:/?#@]+[/#][^@]*(?<!/)(?=@(?:[\w-]{1,63}\.){1,5}[A-Za-z0-9]|@[\w-]{1,63}:\d|@localhost)"
)
_LOGIN_WITH_GAPS = re.compile(rf"[^\s:@/{MASK}]{{0,64}}\s{{0,10}}:\s{{0,10}}[^\s@{MASK}]{{1,200}}+\s{{0,10}}(?=@)")
_NO_SCHEME = rf"(?:[^\s@:{MASK}]|:(?!//))*+"
_BLUNT_LOGIN = re.compile(rf"(?:(?<=://)|(?<=:\\/\\/))(?:{_NO_SCHEME}@(?:{_NO_SCHEME}://)?+)++")

# RFC 5322's local part, with letters of any script.
_LOCAL = rf'[^\s@,;:()<>\[\]"\\{MASK}]'
_LOCAL_REVERSED = re.compile(rf"{_LOCAL}++")
_NARROW_REVERSED = re.compile(r"[\w.+%-]++")  # inside a URL, whose path and query are no part of a name
_QUOTED = re.compile(r'"[^"\n]{1,64}"\Z')
_LONGEST_LOCAL = 130
# One name of a domain.
_LABEL = rf"""[^\s@,;:()<>\[\]"\\.\u3002!?/'&=|{{}}{MASK}]++"""
# An IP address in the place of a domain.
_ADDRESS = r"\[(?:IPv6:)?(?:\d{1,3}(?:\.\d{1,3}){3}|(?=[^\]:]{0,9}:[^\]:]{0,9}:)[0-9A-Fa-f:.]{2,45})\]"
# The last name of a domain has letters: "2@5.99 each" is a price.
_DOMAIN = re.compile(rf"(?:{_LABEL}[.\u3002])+(?![\d-]+(?!\w)){_LABEL}|[A-Za-z][\w-]{{1,62}}+(?![.@]|://)|{_ADDRESS}")
_OPENED, _CLOSED = r"[\s(\[{<\"'*]", r"[\s)\]}>\"'*]"
_ENDS = rf"(?![^\W{SPACELESS}])"
_GAP_BEFORE = re.compile(rf"{_OPENED}{{0,10}}\Z")
_DOMAIN_AFTER_GAP = re.compile(
    rf"{_CLOSED}{{0,10}}+(?:localhost(?!\w)|{_ADDRESS}|[\w-]{{1,63}}+(?:\s{{0,3}}[.\u3002]\s{{0,3}}(?!(?:{KNOWN_DOMAIN}){_ENDS})[\w-]{{1,63}}+){{0,4}}"
    rf"\s{{0,3}}[.\u3002]\s{{0,3}}(?:{KNOWN_DOMAIN}){_ENDS})",
    re.IGNORECASE,
)
_BLUNT_AT = re.compile(rf"(?<![^\s@{MASK}])[^\s@{MASK}]*+(?:\s?@\s?[^\s@{MASK}]*+)++")

_LINK_WORD = (
    r"(?:is|was|are|be|ist|war|lautet|sind|est|es|era|jest|é|è|är|er|on|это|to|for|für|my|mein|meine|mi|the|new|old|neu"
    r"|neue|neues|nueva|nuevo|nouveau|nuova|nova|novo|nieuwe|nowe|current|following|account|login|wifi|wi-fi|set|now"
    r"|still|just|it's|changed|from|using|هي|هو|คอ)"  # without combining characters, as all that is read
)
_SAYS = re.compile(
    r"[:=>→]|\b(?:is|was|ist|war|lautet|est|es|era|jest|é|è|är|er|это|هي|هو|คอ)\b|[是为は은는]", re.IGNORECASE
)
_STOP = r",;&|()\[\]{}"
_LINKED_VALUE = (
    rf"([\"'`”’]?+(?:[^\w{MASK}]{{0,10}}+{_LINK_WORD}(?!\w)){{0,4}}+"
    # The gap ends with what no value begins with: a password may begin with "!", and a key with "/".
    rf"(?:[^\w{MASK}\"'`“‘«]{{0,9}}(?:[\s:=>|(\[{{~•·–—-]|/(?:(?<=\w/)|(?=\s)))|(?=[\"'`“‘«是为は은는]))[是为は은는]?[\s:]{{0,3}}+)"
    rf"(?:[\"'`“‘«]([^\"'`”’»\n{MASK}]{{2,200}}+)[\"'`”’»]"
    rf"|[\"'`“‘«]?((?:[^\s\"'`<>{_STOP}{MASK}]|[{_STOP}](?=[\w!#$%*+^~-])(?![\w-]{{1,20}}[=:])){{2,300}}+))"
)
_LINKED = re.compile(_LINKED_VALUE, re.IGNORECASE)
# The words of "password for the portal is": the link comes after them, and has to say so.
_OF_WHAT = re.compile(
    r"(?! (?:the|this|it|a)\b)(?:[ '’-]{1,2}[^\W\d_]{1,20}+){1,6}?"
    r"(?= {0,3}[:=>→]| [-=]>|\s(?:is|was|ist|lautet|est|es|era|jest|é|è|är|er|это|to)(?!\w))",
    re.IGNORECASE,
)
_SOME_WORDS = rf"(?:[^\w{MASK}]{{0,10}}+[^\s{MASK}]++){{1,5}}+"
_TRAILING = ".,;:!?"
# What words do not have: a digit, a capital after a small letter, great length.
_SECRET = re.compile(r"\d|[a-z][A-Z]|[\w+/=]{20}")
_ELSEWHERE = re.compile(r"\b(?:on|my|mi|mein|meine|the|for|für|from|using|login|account)\b", re.IGNORECASE)
_UNUSUAL_LINK = re.compile(r"[^\s\w,.;?!]")
_SYMBOL = re.compile(r"\w[!@#$%^*+=~?]+\w")
_COUNTED = re.compile(r"\d+-[a-z]+|\d+[.,]\d+|(?:\d{1,3}|(?:19|20)\d\d)(?:st|nd|rd|th|h|min|s)?", re.IGNORECASE)
_NUMBERS = re.compile(r"[\d\W]{0,12}")  # a date, a time, an amount, a short number
_PIN = re.compile(r"\d{3,8}(?![\w.,/:-]*\d)(?!\w)")
_LONGEST_MARKER = 16


def words(reading: str, look: Look) -> str:
    """`reading` with masks for private keys, logins in URLs, passwords, other keys and e-mail addresses."""
    if (begin := reading.find("-----BEGIN")) >= 0:
        reading = reading[:begin] + _PRIVATE_KEY.sub(_key, look(reading[begin:]))
    if ":" in reading and "/" in reading:
        reading = masked(reading, _logins(reading, look))
    reading = KEY.sub(_key, look(reading))
    reading = LONG_WORD.sub(lambda found: _key(found) if is_made_by_machine(found[0]) else found[0], look(reading))
    reading = masked(reading, _named(reading, look))
    return masked(reading, _addresses(reading, look)) if "@" in reading else reading


def _key(found: re.Match[str]) -> str:
    return mask("key", len(found[0]))


def _all(blunt: re.Pattern[str], reading: str, place: int, kind: str, look: Look) -> Iterator[Span]:
    """From a place on whatever looks like a secret of this kind: what its last group holds, if it has any."""
    look(reading[place:])
    return ((*found.span(blunt.groups), kind) for found in blunt.finditer(reading, place))


@functools.cache  # few texts need it, and it takes `re` some 60 ms
def _and_some_words(names: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(f"(?:{names.pattern})({_SOME_WORDS})")


def _logins(reading: str, look: Look) -> Iterator[Span]:
    """What stands between "://" and the "@" of a URL."""
    left, done = JUDGED, 0
    for found in _SCHEME.finditer(look(reading)):
        if not left:
            yield from _all(_BLUNT_LOGIN, reading, max(done, found.start()), "key", look)
            return
        left -= 1
        if found.end() >= done and (end := _end_of_login(reading, found.end(), look)):
            yield found.end(), end, "key"
            done = end


def _end_of_login(reading: str, start: int, look: Look) -> int | None:
    url = _URL.match(reading, start)
    if url is None:
        return None
    written = look(url[0])
    authority = _AUTHORITY.match(written)
    at = written.rfind("@", 0, authority.end() if authority else 0)
    if at < 0:
        odd = (_TOKEN_LOGIN if _PORT.match(written) else _ODD_LOGIN).match(written)
        at = odd.end() if odd else at
    if at > 0:
        return start + at
    spaced = _LOGIN_WITH_GAPS.match(reading, start) if at < 0 else None
    return spaced.end() if spaced else None


def _addresses(reading: str, look: Look) -> Iterator[Span]:
    left, done, last, at = JUDGED, 0, 0, look(reading).find("@")
    while at >= 0:
        if not left:
            yield from _all(_BLUNT_AT, reading, max(done, last), "email", look)
            return
        left -= 1
        if span := _address(reading, at, done, look):
            yield *span, "email"
            done = span[1]
        last = at + 1
        at = reading.find("@", max(last, done))


def _address(reading: str, at: int, done: int, look: Look) -> tuple[int, int] | None:
    before = reading[max(done, at - _LONGEST_LOCAL) : at]
    domain = _DOMAIN.match(reading, at + 1)
    if domain and (size := _local(before, whole=max(done, at - _LONGEST_LOCAL) == done)):
        look(reading[at - size : domain.end()])
        return at - size, domain.end()
    gap = _GAP_BEFORE.search(before)
    far = _DOMAIN_AFTER_GAP.match(reading, at + 1)
    if gap is None or far is None:
        return None
    local = _NARROW_REVERSED.match(before[: gap.start()][::-1])
    return (at - len(gap[0]) - local.end(), far.end()) if local else None


def _local(before: str, whole: bool) -> int:
    """How many characters before an "@" are the name of an address."""
    if quoted := _QUOTED.search(before):
        return len(quoted[0])
    backwards = before[::-1]
    found = _LOCAL_REVERSED.match(backwards)
    if found and found[0].endswith("//"):  # the path of a URL
        found = _NARROW_REVERSED.match(backwards)
    return found.end() if found else 0


def _named(reading: str, look: Look) -> Iterator[Span]:
    """Values that follow their name: "password: ...", "token is ...", and long ones after "key" alone."""
    lower, place, left = look(reading.lower()), 0, JUDGED
    names = MARKER if lower.isascii() else FOREIGN_MARKER
    while left and (found := names.search(lower, place)):
        place = found.end()
        value = _LINKED.match(reading, place)
        if value is None:
            continue
        kind = _kind(lower, place)
        left -= 1
        span = _secret(value, kind, look) or _far_secret(reading, place, kind, look)
        if span:
            yield *span, "key"
            place = max(value.end(), span[1])
        else:
            place = max(_place(value)[0], value.end() - _LONGEST_MARKER)
    if not left:
        yield from _all(_and_some_words(names), lower, place, "key", look)


def _place(value: re.Match[str]) -> tuple[int, int]:
    """Where a value is that _LINKED found, without the punctuation after it."""
    start = value.start(2 if value[2] else 3)
    return start, start + len((value[2] or value[3]).rstrip(_TRAILING))


def _secret(value: re.Match[str], kind: str, look: Look) -> tuple[int, int] | None:
    start, end = _place(value)
    written = look(value.string[start:end])
    return (start, end) if _is_secret(kind, value[1], written, bool(value[2])) else None


def _far_secret(reading: str, place: int, kind: str, look: Look) -> tuple[int, int] | None:
    """The secret in "password for the portal is ...". It has to look like one more than beside its name."""
    words = None if kind == "scheme" else _OF_WHAT.match(reading, place)
    value = _LINKED.match(reading, place + len(look(words[0]))) if words else None
    if value is None or _ELSEWHERE.search(value[1]):
        return None
    span = _secret(value, kind, look)
    least, written = 16 if kind == "key" else 6, value.string[slice(*span)] if span else ""
    likely = len(written) >= least and not (_COUNTED.fullmatch(written) or _NUMBERS.fullmatch(written))
    return span if likely or (span and kind == "pin") else None


def _kind(lower: str, end: int) -> str:
    """What sort of name ends at a place."""
    for kind, names in (("key", KEY_NAMES), ("pin", PIN_NAMES), ("scheme", SCHEMES)):
        if lower.endswith(names, 0, end):
            return kind
    return "password"


def _is_secret(kind: str, link: str, value: str, quoted: bool) -> bool:
    """Whether what follows a name is its value, and no word of the sentence."""
    says = quoted or _SAYS.search(link) is not None or _UNUSUAL_LINK.search(link) is not None
    if kind == "pin":
        return _PIN.match(value) is not None
    if kind == "scheme":
        return len(value) > 5 and _SECRET.search(value) is not None
    if kind == "key":
        least = 6 if says else 16
        return len(value) >= least and _SECRET.search(value) is not None
    if not says and _COUNTED.fullmatch(value):
        return False
    secret = _SECRET.search(value) or _SYMBOL.search(value)
    return secret is not None and len(value) >= (3 if says or "\n" in link else 4 if value.isdecimal() else 6)
