"""What redaction catches by kind and separator, what it takes wrongly, and its time: python -m benchmarks.redaction.

The secrets are made here, none is anybody's. `cases` yields (kind, separator, text, secret): the secret is caught if
none of its parts is left in the redacted text. The texts that hold nothing private are data/support's and, where the
folder is named, those of a JSONL folder: what has a "@", or a number after a word such as "phone", is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from inference.bundle.redact import redact, redactor_id

CAUGHT, FALSE_ALARMS, HOSTILE_MS, CLEAN_US = 0.98, 0.001, 5.0, 3.0
BASE62 = string.ascii_letters + string.digits
SEPARATORS = (
    *(" ", "-", ".", "/", "\u00a0", "\u2009", "\u200b", "\u2060", "\n", "\r\n", "\t", "  ", "      ", " - ", "\u2013"),
    *(
        "_",
        "|",
        "\u2022",
        "\u00b7",
        ":",
        ";",
        "~",
        "*",
        "%20",
        "%2D",
        "&nbsp;",
        "&#45;",
        "\u200d",
        "\u0336",
        " / ",
        "=>",
    ),
)
SENTENCES = ("{}", "hello, {} thanks", "it is {}.", "please use ({}) from now on", "{}\nBest regards", "see: {}, ok?")
DIGITS = (str, lambda text: text.translate({48 + n: 0xFF10 + n for n in range(10)}), lambda text: _keycaps(text))
# As each is dialled at home, and with its country; "#" is any digit.
PHONES = {
    "US": ("(202) 555-####", "202 555 ####", "+1 202 555 ####"),
    "GB": ("07700 900###", "020 7946 0###", "+44 7700 900###"),
    "DE": ("030 23125###", "0171 55501##", "+49 30 23125###"),
    "FR": ("06 12 34 ## ##", "01 99 00 ## ##", "+33 6 12 34 ## ##"),
    "ES": ("612 345 ###", "912 34 ## ##", "+34 612 345 ###"),
    "IT": ("347 123 4###", "06 698 1####", "+39 347 123 4###"),
    "PL": ("512 345 ###", "22 345 ## ##", "+48 512 345 ###"),
    "NL": ("06 1234 ####", "020 123 ####", "+31 6 1234 ####"),
    "CH": ("079 123 ## ##", "044 668 ## ##", "+41 79 123 ## ##"),
    "SE": ("070 123 ## ##", "08 123 4## ##", "+46 70 123 ## ##"),
    "NO": ("412 34 ###", "22 12 ## ##", "+47 412 34 ###"),
    "DK": ("20 12 ## ##", "32 12 ## ##", "+45 20 12 ## ##"),
    "PT": ("912 345 ###", "212 345 ###", "+351 912 345 ###"),
    "IN": ("98765 #####", "81234 #####", "+91 98765 #####"),
    "CN": ("138 1234 ####", "010 8888 ####", "+86 138 1234 ####"),
    "JP": ("090 1234 ####", "03 3123 ####", "+81 90 1234 ####"),
    "BR": ("(11) 91234 ####", "11 91234 ####", "+55 11 91234 ####"),
    "AU": ("0412 345 ###", "02 9374 4###", "+61 412 345 ###"),
    "RU": ("8 912 345 ## ##", "912 345 ## ##", "+7 912 345 ## ##"),
    "SG": ("9123 ####", "6123 ####", "+65 9123 ####"),
}
IBANS = (
    "DE####################",
    "GB##WEST##############",
    "FR################A##B##C##",
    "NL##ABNA##########",
    "NO#############",
    "PL##########################",
    "ES######################",
    "IT##X######################",
    "CH################A##",
)
KEYS = (
    "sk-{48}",
    "sk-ant-api03-{40}",
    "sk-proj-{40}",
    "ghp_{36}",
    "github_pat_{40}",
    "glpat-{20}",
    "xoxb-{24}",
    "AIza{35}",
    "npm_{36}",
    "SG.{22}.{43}",
    "hf_{34}",
    "sk_live_{24}",
    "pypi-{60}",
    "dop_v1_{64}",
    "shpat_{32}",
    "hvs.{40}",
    "GOCSPX-{28}",
    "eyJ{20}.eyJ{40}.{43}",
    "ya29.{60}",
    "key-{32}",
    "rk_live_{24}",
    "whsec_{32}",
    "{40}",
    "ATATT3{60}",
    "nvapi-{60}",
    "M{23}.{6}.{38}",
)
NAMED = (
    "password{}",
    "my password is{}",
    "Passwort{}",
    "mot de passe{}",
    "contraseña{}",
    "senha{}",
    "пароль{}",
    "密码{}",
    "pwd{}",
    "passphrase{}",
    "wachtwoord{}",
    "The password for my account is{}",
    "hasło{}",
    "pass{}",
    "パスワード{}",
    "the password for the portal is{}",
    "le mot de passe du compte est{}",
    "la password del wifi è{}",
    "contraseña nueva{}",
    "het wachtwoord van mijn account is{}",
)
LINKS = (
    ": ",
    "=",
    " = ",
    " - ",
    " ",
    "\n",
    ":\n",
    " => ",
    " \u2013 ",
    "\t",
    ': "',
    " (",
    ":\u00a0",
    " | ",
    "&#58; ",
    "%3A ",
    " > ",
)
PASSWORDS = ("hunter22", "S3cret!pw", "Tr0ub4dor&3", "qwerty123", "p4ssw0rd", "blau2Haus", "x9!kT#2v", "12345abc")
AT = (
    "@",
    "%40",
    "&#64;",
    "&commat;",
    "\uff20",
    "\u200b@",
    "@\u200b",
    " @",
    "@ ",
    " @ ",
    "(@)",
    "[@]",
    "\u00a0@\u00a0",
    "\n@",
    "&#x40;",
)
LOGINS = (
    "redis://:{}@localhost:6379/0",
    "postgresql://app:{}@10.0.0.5/app",
    "https://jane:{}@example.org/x?y=1",
    "amqp://u:{}@mq",
    "mongodb+srv://root:{}@c0.example.net/db",
    "ftp://anonymous:{}@192.168.1.4",
    "https://{}@api.example.org/v1",
    "mysql://app:{}/9#b@db:3306/x",
    "ldap://jane:a?b/{}@c9@10.0.0.5",
)
URL_MARKS = (
    *(
        "://",
        "%3A%2F%2F",
        ":&#47;&#47;",
        "\uff1a//",
        ":/\u200b/",
        ": //",
        ":\u2060//",
        ":/ /",
        "&#58;//",
        "%3a//",
        ":\\/\\/",
    ),
)


class Case(NamedTuple):
    """A secret as somebody might write it: its kind, what separates its parts, the text, and what may not be left."""

    kind: str
    separator: str
    text: str
    secret: str


def _keycaps(text: str) -> str:
    return "".join(c + "\ufe0f\u20e3" if c.isdigit() else c for c in text)


def _filled(rng: random.Random, shape: str, letters: str = string.digits) -> str:
    return "".join(rng.choice(letters) if c == "#" else c for c in shape)


def luhn(digits: str) -> str:
    """The digit that makes `digits` a card number."""
    total = sum(sum(divmod(int(digit) * (2 - i % 2), 10)) for i, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def iban(shape: str) -> str:
    """An account with its country, as in DE##..., with the check digits that fit."""
    value = int("".join(str(int(c, 36)) for c in f"{shape[4:]}{shape[:2]}00"))
    return f"{shape[:2]}{98 - value % 97:02}{shape[4:]}"


def _groups(text: str, sizes: Iterable[int]) -> list[str]:
    pieces = []
    for size in sizes:
        pieces, text = [*pieces, text[:size]], text[size:]
    return [piece for piece in [*pieces, text] if piece]


def cards(rng: random.Random) -> Iterator[Case]:
    """Card numbers of five issuers in their usual groups."""
    for separator in SEPARATORS:
        for start, size, sizes in (
            ("4", 16, (4,) * 4),
            ("51", 16, (4,) * 4),
            ("37", 15, (4, 6, 5)),
            ("62", 16, (4,) * 4),
            ("6011", 16, (4,) * 4),
        ):
            body = _filled(rng, start.ljust(size - 1, "#"))
            number = body + luhn(body)
            groups = map(rng.choice(DIGITS), _groups(number, sizes))
            yield Case("card", separator, separator.join(groups), number)


def ibans(rng: random.Random) -> Iterator[Case]:
    """IBANs of nine countries in groups of four."""
    for separator in SEPARATORS:
        for shape in IBANS:
            number = iban(_filled(rng, shape.replace("##", "00", 1)) if shape[2:4] == "##" else shape)
            yield Case("iban", separator, separator.join(_groups(number, (4,) * 9)), number)


def phones(rng: random.Random) -> Iterator[Case]:
    """Phone numbers of twenty countries, at home and from abroad."""
    for separator in SEPARATORS:
        for shapes in PHONES.values():
            for shape in shapes:
                number = _filled(rng, shape)
                yield Case("phone", separator, number.replace(" ", separator).replace("-", separator), number)


def emails(rng: random.Random) -> Iterator[Case]:
    """Addresses with whatever may stand for or around the "@"."""
    for at in AT:
        for domain in ("example.org", "mail.example.co.uk", "example.com", "shop.example.de"):
            name = f"{rng.choice(('jane', 'j.doe', 'max_m', 'info+x'))}{rng.randint(1000, 9999)}"
            yield Case("email", at, f"{name}{at}{domain}", name)
    yield Case("email", "@", "root7741@localhost", "root7741")
    yield Case("email", "@", "https://example.org/unsubscribe?mail=jane7741@example.org", "jane7741")


def keys(rng: random.Random) -> Iterator[Case]:
    """Keys of well-known services, bare and after their names."""
    for before in (
        "",
        "key: ",
        "KEY=",
        "Bearer ",
        "api_key => ",
        "token\n",
        '"secret": "',
        "use\t",
        "x-api-key:\u00a0",
        "my token - ",
        "(",
    ):
        for shape in KEYS:
            key = re.sub(r"{(\d+)}", lambda size: "".join(rng.choices(BASE62, k=int(size[1]))), shape)
            yield Case("key", before, before + key, key[-16:])


def passwords(rng: random.Random) -> Iterator[Case]:
    """Passwords after what people call one, in several languages."""
    for link in LINKS:
        for name in NAMED:
            secret = rng.choice(PASSWORDS)
            yield Case("password", link, name.format(link + secret), secret)


def logins(rng: random.Random) -> Iterator[Case]:
    """Passwords in URLs."""
    for mark in URL_MARKS:
        for url in LOGINS:
            secret = "".join(rng.choices(BASE62, k=6)) + rng.choice(("", "!", "$x", "-_", "%21", "+q", "~1"))
            yield Case("url", mark, url.format(secret).replace("://", mark), secret[:6])


KINDS: tuple[Callable[[random.Random], Iterator[Case]], ...] = (logins, keys, passwords, emails, phones, cards, ibans)


def cases(rng: random.Random, rounds: int = 1) -> Iterator[Case]:
    """All kinds with all separators, each in a sentence."""
    for _ in range(rounds):
        for kind in KINDS:
            for case in kind(rng):
                yield case._replace(text=rng.choice(SENTENCES).replace("{}", case.text))


def is_caught(case: Case, redacted: str) -> bool:
    """Whether what makes the secret one is gone: half of the digits of a number, all of a name or a key."""
    if case.kind in ("phone", "card", "iban"):
        left = sum(c.isdecimal() for c in redacted)
        return "[" in redacted and left <= sum(c.isdecimal() for c in case.secret) // 3
    return case.secret not in redacted and "[" in redacted


def catches(rounds: int) -> dict[str, tuple[int, list[Case]]]:
    """By kind: how many there were, and which were missed."""
    found: dict[str, tuple[int, list[Case]]] = defaultdict(lambda: (0, []))
    for case in cases(random.Random(13), rounds):
        total, missed = found[case.kind]
        found[case.kind] = total + 1, missed if is_caught(case, redact(case.text)) else [*missed, case]
    return dict(found)


_MAYBE_PRIVATE = re.compile(
    r"@|://|(?i:phone|mobile|call|ring|\bpin\b|\bnr\b|\bnum|\d{3}[ -]?\d{4}\b.*\bme\b)|\b0\d{3}"
)


def harmless(paths: Iterable[Path]) -> Iterator[str]:
    """Texts of JSONL files that hold nothing private."""
    for path in paths:
        for line in path.read_text("utf-8").splitlines():
            text = json.loads(line)["text"]
            if not (_MAYBE_PRIVATE.search(text) and re.search(r"\d{4}|@", text)):
                yield text


def _best_s(text: str, times: int) -> float:
    """Seconds of this process, whatever else the machine does."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        redact(text)
        best = min(best, time.process_time() - start)
    return best


def hostile(rng: random.Random, size: int = 8000) -> str:
    """`size` characters made of a few pieces of secrets, again and again."""
    pieces = [case.text for case in cases(rng)]
    marks = [
        "@",
        "://",
        "password ",
        "key: ",
        "1 ",
        "1",
        "(",
        "+",
        "DE12",
        "%31",
        "&#49;",
        "\u200b",
        "-",
        "1,",
        "a@",
        "12:30 ",
    ]
    units = [rng.choice([rng.choice(pieces), rng.choice(marks), rng.choice(marks)]) for _ in range(rng.randint(1, 4))]
    text = "".join(units)
    return (text * (size // len(text) + 1))[:size]


CLEAN = "Where is the parcel that I ordered two weeks ago? It should have been here on Monday, I think. Thanks"


def main(argv: list[str] | None = None) -> int:
    """Print every figure beside its bar; the exit status is 1 if one is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redaction", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of secrets, fewer hostile texts")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="more folders of JSONL texts")
    parser.add_argument("--missed", action="store_true", help="print what was missed, and the false alarms")
    options = parser.parse_args(argv)
    print(f"redactor {redactor_id('builtin')}")
    fine = _print_catches(1 if options.quick else 10, options.missed)
    fine &= _print_false_alarms([Path("data/support"), *options.texts], options.missed)
    fine &= _print_times(40 if options.quick else 400)
    return 0 if fine else 1


def _print_catches(rounds: int, show: bool) -> bool:
    fine = True
    for kind, (total, missed) in catches(rounds).items():
        share = 1 - len(missed) / total
        fine &= share >= CAUGHT
        print(f"{kind:10} {share:7.2%} of {total} caught (bar {CAUGHT:.0%})")
        for case in missed if show else ():
            print(f"    {case.separator!r} {case.text!r} > {redact(case.text)!r}")
    return fine


def _print_false_alarms(folders: list[Path], show: bool) -> bool:
    texts = list(harmless(path for folder in folders for path in sorted(folder.glob("*.jsonl"))))
    alarms = [text for text in texts if redact(text) != text]
    print(f"false alarms {len(alarms) / len(texts):.3%} of {len(texts)} texts (bar {FALSE_ALARMS:.1%})")
    for text in alarms if show else ():
        print(f"    {text!r} > {redact(text)!r}")
    return len(alarms) <= FALSE_ALARMS * len(texts)


def _print_times(count: int) -> bool:
    rng = random.Random(17)
    texts = [hostile(rng) for _ in range(count)]
    worst = max(texts, key=lambda text: _best_s(text, 2))
    ms = _best_s(worst, 5) * 1e3
    us = min(_best_s(CLEAN * 20, 5) for _ in range(20)) * 1e6 / (20 * len(CLEAN)) * 100
    print(f"8,000 hostile characters: {ms:.2f} ms at worst of {count} texts (bar {HOSTILE_MS:.0f}): {worst[:60]!r}")
    print(f"100 clean characters: {us:.2f} µs (bar {CLEAN_US:.0f})")
    return ms <= HOSTILE_MS and us <= CLEAN_US


if __name__ == "__main__":
    raise SystemExit(main())
