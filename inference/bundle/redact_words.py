"""E-mail addresses, keys and tokens: what `redact` finds by its letters."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Look = Callable[[str], str]  # takes the text that a scan is about to read, counts it and returns it

# RFC 5322's local part, with letters of any script. Possessive wherever it is repeated: each word is read once.
_LOCAL = r'[^\s@\uff20,;:()<>\[\]"\\]'
# A local part in quotes; without placeholders, which are shorter than what they stand for and would make it fit.
_QUOTED = r'"(?:[^"\n\[]|\[(?!(?:email|phone|card|iban|key)\])){1,64}"'
# One name of a domain; five dashes end it, since a private key may begin there.
_LABEL_LETTER = r"""[^\s@\uff20,;:()<>\[\]"\\.\u3002\uff0e!?/'&=|{}-]"""
_LABEL = rf"(?:{_LABEL_LETTER}++|-(?!----))++"
_AT = r"(?:[@\uff20]| @ )"
# The last name of a domain has letters: "2@5.99 each" is a price.
_DOMAIN = rf"(?:{_LABEL}[.\u3002\uff0e])+(?![\d-]+(?!\w)){_LABEL}"
# In "/@jane.doe@example.org" what could be the domain of one address is the name in the next.
_LAST = rf"(?!{_LOCAL}++{_AT}{_DOMAIN})"
# A word that begins with // is the path of a URL.
_EMAIL = rf"(?:(?<!{_LOCAL})(?!//){_LOCAL}++|{_QUOTED}){_AT}{_DOMAIN}"
_URL = rf"(?<!{_LOCAL})//{_LOCAL}*+{_AT}{_LAST}{_DOMAIN}"
# One that follows another, where a word need not begin.
_GLUED_EMAIL = rf"(?:{_LOCAL}++|{_QUOTED}){_AT}{_LAST}{_DOMAIN}"
# A private key, to its last line or to the end of the text.
_PRIVATE_KEY = r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?(?:-----END [A-Z0-9 ]{0,60}-----|\Z)"
# In one scan, since each may contain what looks like another.
_ADDRESS = re.compile(rf"(?:(?P<key>{_PRIVATE_KEY})|(?P<url>{_URL})|{_EMAIL})(?P<glued>(?:{_GLUED_EMAIL})*+)")
_NEXT_ADDRESS = re.compile(_GLUED_EMAIL)

# What would be a key once the secret that it is glued to is gone. To the end of the word, so that no date is cut.
GLUED = r"(?:eyJ|sk-|hf_|[spr]k_(?:live|test)_)[\w./-]*+"
# JSON web tokens, then keys that begin as those of well-known services do. The look-behinds spare "risk-adjusted".
_KEY = re.compile(
    r"(?<![\w-])eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?"
    r"|(?<![A-Za-z0-9])(?:sk-|hf_|[spr]k_(?:live|test)_)[\w-]{8,}+"
    rf"|sk-ant-[\w-]{{8,}}+|(?:AKIA|ASIA)[A-Z0-9]{{16}}(?:{GLUED})?+|AIza[\w-]{{16,}}+"
    r"|(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-)[\w-]{10,}+"
)
_VALUE = r"[^\s\"'`,;<>()\[\]{}&|]"
# Values that follow their name: "password: ...", "token is ...", and long ones after "key" alone.
_NAMED = re.compile(
    r"(bearer\s{1,3}|(?:key|token|secret|passwor[dt]|passwd|passphrase|pwd)[\"'`]?"
    rf"(?:\s{{0,3}}(?:[:=]|=>)|\s{{1,3}}is\b)\s{{0,3}}[\"'`]?)({_VALUE}{{6,}}+)"
    rf"|((?:key|token|secret)\s{{1,3}})({_VALUE}{{16,}}+)",
    re.IGNORECASE,
)
_NAME = len("passphrase:")  # the longest: a value that is no secret may end in a name, as in "token is secret 1f8..."
# What words do not have: a digit, a capital after a small letter, great length. Its look-behind saves looking again.
_SECRET = re.compile(r"\d|[a-z][A-Z]|(?<![\w+/=])[\w+/=]{20}")


def addresses(text: str, look: Look) -> Iterator[tuple[str, str]]:
    """`text` without e-mail addresses and private keys, in pairs: what comes before a URL with "@" in it, and that URL.

    Such a URL is no address but would look like one without its first half. The URL of the last pair is empty.
    """
    pieces, done = [], 0
    for found in _ADDRESS.finditer(look(text)):
        pieces.append(text[done : found.start()])
        done = found.end()
        if found["url"]:
            yield "".join(pieces), found["url"]
            pieces = []
        else:
            pieces.append("[key]" if found["key"] else "[email]")
        if found["glued"]:
            pieces.append(_NEXT_ADDRESS.sub("[email]", look(found["glued"])))
    yield "".join([*pieces, text[done:]]), ""


def keys(text: str, look: Look) -> str:
    """`text` with [key] for the keys and tokens that are known by their shape or by the name before them."""
    text = look(_KEY.sub("[key]", look(text)))
    pieces, done, place = [], 0, 0
    while found := _NAMED.search(text, place):
        value = 2 if found[2] else 4
        if _SECRET.search(look(found[value])):
            pieces += [text[done : found.start(value)], "[key]"]
            done = place = found.end()
        else:
            place = max(found.start(value), found.end() - _NAME)
            look(text[place : found.end()])
    return "".join([*pieces, text[done:]])
