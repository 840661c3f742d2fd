"""Phone numbers, by what stands in and before the digits; the extra `redact` knows the plans of the regions."""

from __future__ import annotations

import functools
import re

from inference.bundle.redact_catalogue import SPACELESS

# Where a national number is looked for unless the redactor's name says where: half of mankind, and most of its phones.
_REGIONS = (
    "AR AT AU BE BR CA CH CL CN CO CZ DE DK EG ES FI FR GB GR HK HU ID IE IL IN IT JP KR MX MY NG NL NO NZ PH PK PL PT"
    " RO RU SA SE SG TH TR TW UA US VN ZA"
)
REGIONS = tuple(_REGIONS.split())

_END = r"(?!\d)(?![-./]\d)"  # what goes on after a dash, a dot or a slash is an order number, a version or the like
_NEXT = r"\D*+\d"  # in a chain, whose gaps are short
_PHONE = re.compile(
    rf"\+\D{{0,3}}\d(?:{_NEXT}){{6,14}}(?!\d)"  # with its country
    rf"|(?<!\d)(?:\(?00[1-9](?:{_NEXT}){{7,12}}|\(?0[1-9](?:{_NEXT}){{7,10}}"  # its country, or its area
    rf"|\(\d{{2,5}}\)(?:{_NEXT}){{6,10}}|\(?0[1-9]\d{{1,2}}\)?[\s/]{{1,3}}\d{{4}}"  # an area, with a short number
    rf"|(?:1\D{{1,10}})?\(?[2-9]\d\d\D{{1,10}}\d{{3}}\D{{1,10}}\d{{4}}){_END}"  # North America
)
_ANY = re.compile(rf"\D{{0,3}}\d(?:{_NEXT}){{6,14}}{_END}")
_BARE = range(7, 13)  # digits of a number that nothing announces
_WORDS = re.compile(r"[^\W\d_]+|#")
_WORD = re.compile(r"[^\W\d_]+|#")
_SAID, _AFTER_SAID, _REFERENCE, _AFTER_REFERENCE, _SHORTENED = (
    frozenset(words.split())
    for words in (
        # that a phone number follows
        "phone telephone telefon telefono teléfono téléphone tel cellphone smartphone mobile mobil móvil movil handy"
        " cell fax whatsapp signal sms call calls text ring reach dial contact rufnummer telefonnummer handynummer"
        " rückruf portable celular cellulare телефон тел 电话 手机 電話 携帯 전화",
        # between such a word and the number
        "me us him her back number numbers nummer numéro número no nr is ist est es are at on under unter via to my our"
        " the it au",
        # that it is another's number
        "order orders ticket tickets case cases invoice invoices ref refs reference claim booking contract transaction"
        " serial account acct policy property tracking parcel shipment chat terminal id code error version build row"
        " line vat rx sku item article model product reg registration patient member customer client flight job file"
        " slip root average # bestellung auftrag rechnung vorgang vertrag kunde bestellnummer auftragsnummer"
        " rechnungsnummer kundennummer ticketnummer vertragsnummer commande facture pedido factura ordine fattura"
        " zamówienie заказ 订单",
        "no nr number num nummer id code is was of are ending numéro número",
        # that end with a full stop in the middle of a sentence
        "no nr num tel ref acct",
    )
)
_NEW_SENTENCE = re.compile(r"[.!?]\s|\n")
_CODE = re.compile(r"[^\W\d_][-#/.:]?\Z|#\Z")  # digits that go on from letters
_BESIDE = re.compile(f"[{SPACELESS}]\\Z")  # letters that nothing goes on from
# What the letters before a number that is glued to them say it is, another's first.
_SAID_AT_ONCE = re.compile("电话|電話|手机|手機|携帯|致电|致電|拨打|撥打|联系|聯繫|โทร")
_OTHER_AT_ONCE = re.compile("[单單号號编編票证証账帳番]|注文|口座|会員|หมายเลข|เลขที่")
_MOBILE = 10  # digits that a number has at least that nothing but such letters announces
_MONEY = re.compile(r"[$€£¥₹₩₽₺₫₪฿]\s?\Z")
_NO_PHONE = re.compile(r", |\s[+*=]\s|\A(?:19|20)\d\d[-/]|\A[1-9]\d?(?:[,.]\d{3})+\Z")  # a list, a sum, a year's, 1,000
_DIGITS = re.compile(r"\d+")


def phones(
    written: str, start: int, end: int, before: str, after: str, regions: tuple[str, ...]
) -> list[tuple[int, int]]:
    """Where phone numbers are in the digits from `start` to `end`, which nothing but short gaps divides.

    `before` is the text before them as far as it says what they are, `after` the character after them.
    """
    said = _ANY.match(written, start, end) if _announced(before, _SAID, _AFTER_SAID) else None
    spans = [said.span()] if said else []
    glued = before[-1:].isalpha() and not _BESIDE.search(before)  # as in JD0042219907
    found = _PHONE.finditer(written, said.end() if said else start, end)
    spans += [one.span() for one in found if one.start() > start or not glued or one[0][0] == "+"]
    return spans or ([(start, end)] if _bare(written[start:end], before, after, regions) else [])


def _announced(before: str, names: frozenset[str], more: frozenset[str]) -> bool:
    """Whether a name, perhaps with some more words after it, stands last in `before`."""
    found = list(_WORD.finditer(before.lower()))[-6:]
    if not found or (found[-1][0] not in _SHORTENED and _NEW_SENTENCE.search(before, found[-1].end())):
        return False
    words = [word[0] for word in found]
    while words and words[-1] in more and words[-1] not in names:
        words.pop()
        if words and words[-1] == "my" and names is _SAID:
            return True  # my number
    return bool(words) and words[-1] in names


def _bare(chain: str, before: str, after: str, regions: tuple[str, ...]) -> bool:
    """Whether digits without "+", a leading 0 or a word such as "call" are a phone number."""
    groups = _DIGITS.findall(chain)
    digits = "".join(groups)
    if len(digits) not in _BARE or digits[:2] == "00" or len(set(digits)) == 1 or _goes_on(after):
        return False
    if len(groups) > 5 or (len(groups) > 1 and len(groups[0]) == 1 and not (digits[0] in "178" and len(digits) > 9)):
        return False
    if _BESIDE.search(before) and not _SAID_AT_ONCE.search(before[-_MOBILE:]):
        if len(digits) < _MOBILE or _OTHER_AT_ONCE.search(before[-_MOBILE:]):
            return False
    elif _CODE.search(before) and not _BESIDE.search(before):
        return False
    if _NO_PHONE.search(chain) or _MONEY.search(before) or _announced(before, _REFERENCE, _AFTER_REFERENCE):
        return False
    return is_national(digits, regions)


def _goes_on(after: str) -> bool:
    return after.isalpha() and not _BESIDE.search(after)


def library() -> str:
    """The version of phonenumbers, which is installed with the extra `redact`; empty where it is not."""
    try:
        import phonenumbers
    except ImportError:
        return ""
    return str(phonenumbers.__version__)


def is_national(digits: str, regions: tuple[str, ...]) -> bool:
    """Whether `digits` are a number of one of these regions as it is dialled there; True without the library."""
    patterns = _plans(regions)
    return patterns is None or any(pattern.fullmatch(digits) for pattern in patterns)


@functools.cache
def _plans(regions: tuple[str, ...]) -> tuple[re.Pattern[str], ...] | None:
    """The library's patterns for lines and mobiles: its own `parse` takes a hundred times as long for all regions."""
    if not library():
        return None
    from phonenumbers import PhoneMetadata

    plans = []
    for region in regions:
        if (plan := PhoneMetadata.metadata_for_region(region)) is None:
            raise ValueError(f"phonenumbers knows no region {region!r}; give two letters, as in US or DE")
        kinds = (kind.national_number_pattern for kind in (plan.fixed_line, plan.mobile) if kind)
        either = "|".join(f"(?:{pattern})" for pattern in kinds if pattern)
        plans.append(re.compile(rf"(?:{plan.national_prefix or ''})?(?:{either})"))
    return tuple(plans)
