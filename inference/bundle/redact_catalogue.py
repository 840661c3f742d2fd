"""What is public about secrets: how the keys of well-known services begin, and what people call a password."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

VERSION = 5  # counted up whenever what `redact` finds changes


def _by_first_letter(patterns: Iterable[str]) -> str:
    """One expression for `patterns`, each of which begins with a letter as it is: `re` then skips all other letters."""
    rests: dict[str, list[str]] = {}
    for pattern in patterns:
        rests.setdefault(pattern[0], []).append(pattern[1:])
    return "|".join(f"{re.escape(first)}(?:{'|'.join(rest)})" for first, rest in rests.items())


# Inside a character class: letters of scripts without spaces, in which a word may begin or end beside any letter.
SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"

_W, _B = r"[\w-]", r"[A-Za-z0-9]"
# How keys begin and go on, each as its service documents it.
_KEYS = (
    ("sk-ant- sk-proj- sk-or- sk-svcacct-", rf"{_W}{{8,}}+"),
    ("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xapp- xoxe\\.", rf"{_W}{{10,}}+"),
    ("glpat- gldt- glrt- glcbt- glptt- glft- glsoat- glagent- gloas- glffct- glimt-", rf"{_W}{{10,}}+"),
    ("npm_ pypi- rubygems_ dckr_pat_ dckr_oat_ nfp_ figd_ lin_api_ rdme_ glsa_ glc_ sntrys_ sntryu_", r"[\w=.-]{16,}+"),
    ("dop_v1_ doo_v1_ dor_v1_ shpat_ shpca_ shppa_ shpss_ sq0atp- sq0csp- sq0idp- whsec_", r"[\w=.-]{10,}+"),
    ("pscale_pw_ pscale_tkn_ pscale_oauth_ dp\\.pt\\. dp\\.st\\. dp\\.ct\\. dt0c01\\.", r"[\w=.-]{10,}+"),
    ("xkeysib- PMAK- CFPAT- NRAK- NRJS- NRII- HRKU- GOCSPX- FLWSECK- FLWSECK_TEST- AGE-SECRET-KEY-1", rf"{_W}{{16,}}+"),
    (
        "CCIPAT_ CLOJARS_ nvapi- tvly- pplx- xai- gsk_ pul- sbp_ ntn_ secret_ bkua_ sgp_ pnu_ tfp_ fm2_",
        rf"{_W}{{16,}}+",
    ),
    ("ATATT3 ATBB AKCp EZAK EZTK AIza ya29\\. hvs\\. hvb\\. hvr\\. mlsn\\. AQVN y0_", r"[\w=-]{16,}+"),
    ("AKIA ASIA ABIA ACCA", r"[A-Z0-9]{12,}+(?:(?:eyJ|sk-|hf_|[spr]k_(?:live|test)_)[\w./-]*+)?"),
    (rf"E(?<!{_B}E)AAA E(?<!{_B}E)AAC L(?<!{_B}L)TAI A(?<!{_B}A)KID", rf"{_B}{{12,}}+"),
    ("AC SK AP", r"[0-9a-f]{32}(?![0-9a-z])"),
    ("dapi", r"[0-9a-f]{32}"),
    ("oy2", r"[a-z0-9]{40,}+"),
    ("SG\\.", rf"{_W}{{8,}}+\.{_W}{{8,}}+"),
    ("8Q~", r"[\w~.-]{24,}+"),
    ("atlasv1\\.", rf"{_W}{{24,}}+"),
    ("access-(?:sandbox|development|production)-", r"[0-9a-f-]{32,}+"),
    ("pat", rf"{_B}{{14}}\.[0-9a-f]{{32,}}+"),
    ("hooks\\.slack\\.com/", r"[\w/]{16,}+"),
    ("api/webhooks/", r"[0-9]{8,}+/[\w-]{20,}+"),
    (r":(?<=[0-9]{8}:)AA", rf"{_W}{{30,}}+"),
    (rf"M(?<!{_B}M) N(?<!{_B}N) O(?<!{_B}O)", rf"{_W}{{23,27}}\.{_W}{{6}}\.{_W}{{27,}}+"),
    (r"e(?<![\w-]e)yJ", r"[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]*+)?"),
    # short ones, which begin a word: the look-behinds spare "risk-adjusted"
    (rf"s(?<!{_B}s)k- h(?<!{_B}h)f_ r(?<!{_B}r)e_ r(?<!{_B}r)8_ k(?<!{_B}k)ey- f(?<!{_B}f)o1_", rf"{_W}{{8,}}+"),
    ("sk_live_ sk_test_ pk_live_ pk_test_ rk_live_ rk_test_", rf"{_W}{{8,}}+"),
    (r"_(?<=[A-Za-z]_)live_ _(?<=[A-Za-z]_)test_ _(?<=[A-Za-z]_)prod_", rf"{_W}{{8,}}+"),
)
KEY = re.compile(_by_first_letter(f"{prefix}{tail}" for prefixes, tail in _KEYS for prefix in prefixes.split()))
LONG_WORD = re.compile(rf"(?<![^\W{SPACELESS}])(?<![/.@%+-])\w(?<![{SPACELESS}])[A-Za-z0-9_+/-]{{23,}}+=*+(?![.@])")
_MACHINE = re.compile(r"(?=(?:[^A-Z]*+[A-Z]){3})(?=(?:[^a-z]*+[a-z]){3})(?:[^0-9]*+[0-9]){2}")
_HEXADECIMAL = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{32,}+|[0-9A-F]{32,}+)(?![0-9A-Za-z])")


def is_made_by_machine(word: str) -> bool:
    """Whether a long word has small letters, capitals and digits, as keys of services that are not listed have, or a
    long hexadecimal number, whatever begins it.
    """
    return (_MACHINE.match(word[:200]) or _HEXADECIMAL.search(word[:200])) is not None


# What announces a password or another secret, in lower case: head/tail/ending, of which the search looks for the tail,
# because it begins with a rarer letter; "^" where no letter may come before it.
_PASSWORDS = (
    "pass/word/s? pass/wort/ pass/wd/ pass/wörter/ pass/phrase/s? pass/code/s? ^/passord/(?:et)? ^/pass/(?=\\W) ^/pw/"
    " ^/psw/ /pwd/ kenn/wort/ mot\\sde\\s/passe/ palavra[\\s-]/passe/ ^/mdp/ /contrase[nñ]a/s? ^cla/ve/s? ^sen/ha/s?"
    " ^/wachtwoord/ adgangs/kode/ ^sa/lasana/ ^hes/lo/ ^ges/lo/ ^has/lo/ ^si/fre/ ^/parola/(?:\\sd'ordine)? ^/parool/"
    " ^/jelsz[oó]/ ^lo/zinka/ ^mat\\s/khau/ ^/kata\\ssandi/ lose/nord/"
)
_FOREIGN_PASSWORDS = (
    "/lösenord/ ^has/ło/ ^/şifre/(?:m|si|niz)? parol/ă/ ^/пароль/ mậ/t\\skhẩu/ /密码/* /密碼/* /口令/*"
    " /パスワード/* /비밀번호/* /암호/*"
    " كلمة\\s/المرور/ كلمة\\s/السر/ /סיסמה/ /סיסמא/ /पासवर्ड/ /รหัสผ่าน/* ^/κωδικ[οό]ς/ ^/пин/(?:-?код)? /暗証番号/*"
)
_OTHERS = (
    "/key/s? to/ken/s? se/cret/s? si/g/(?:nature)?(?==) ^/credential/s? ^/bearer/(?=\\s) ^/basic/(?=\\s)"
    " ^/pin/s?(?:[\\s-]?code)? ^/puk/ ^ot/p/ security\\s/code/ verification\\s/code/ one-time\\s/code/"
    " ^/cvv/2? ^/cvc/2? geheim/zahl/"
)


def _name(spec: str) -> str:
    """A name as it is written, without its ending."""
    return "".join(spec.lstrip("^").split("/")[:2])


def _marker(spec: str, spaceless: str) -> str:
    """The tail and the ending of a name, and what is before it."""
    head, tail, ending = spec.split("/")
    begins = rf"(?<![^\W\d_{spaceless}]{_name(spec)})" if head[:1] == "^" else ""
    before = f"(?<={_name(spec)}){begins}"
    return f"{tail}{before if head else ''}{ending.strip('*')}"


def _markers(specs: str, spaceless: str = "") -> re.Pattern[str]:
    # Texts are read without combining characters, composed or not.
    forms = (unicodedata.normalize(form, specs) for form in ("NFC", "NFD"))
    read = ("".join(one for one in form if unicodedata.category(one) != "Mn") for form in forms)
    every = list(dict.fromkeys(" ".join(read).split()))
    # A script without spaces goes on at once, any other word ends here.
    free = "".join(f"(?<={_name(spec)})|" for spec in every if spec.endswith("*"))
    markers = _by_first_letter(_marker(spec, spaceless) for spec in every)
    return re.compile(rf"(?:{markers})(?:{free}(?![^\W_{spaceless}]))")


# In a text that is ASCII nothing is of a script without spaces: `re` takes a millisecond and more to compile each class
# of these letters.
MARKER = _markers(f"{_PASSWORDS} {_OTHERS}")
FOREIGN_MARKER = _markers(f"{_PASSWORDS} {_OTHERS} {_FOREIGN_PASSWORDS}", SPACELESS)
# What begins a key that has neither a digit nor a sign, in lower case; and whether an ASCII text is looked at.
_BEGINNINGS = "a/kia/* a/sia/* ai/za/* ey/j/*"
KEY_BEGINS = _markers(_BEGINNINGS)
GATE = _markers(f"{_PASSWORDS} {_OTHERS} {_BEGINNINGS}")
KEY_NAMES = ("key", "keys", "token", "tokens", "secret", "secrets", "sig", "signature", "credential", "credentials")
PIN_NAMES = (
    *("pin", "pins", "pin code", "pin-code", "pincode", "puk", "otp", "cvv", "cvc", "cvv2", "cvc2", "geheimzahl"),
    *("security code", "verification code", "one-time code", "пин", "пин-код", "пинкод", "暗証番号"),
)
SCHEMES = ("bearer", "basic")

# Endings of domains that are known where something stands between an address's parts: any country's, and these.
KNOWN_DOMAIN = "com|org|net|edu|gov|mil|int|info|biz|name|app|dev|cloud|online|shop|store|email|example|test|[a-z]{2}"
KNOWN_DOMAIN += "|рф|укр|бел|срб|қаз|中国|中國|香港|台灣|台湾|한국|भारत|مصر|السعودية|امارات|ไทย"
