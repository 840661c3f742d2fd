"""Whether digits that nothing announces are a phone number: the extra `redact` knows the plans of the regions."""

from __future__ import annotations

import functools
import re

# Where a national number is looked for unless the redactor's name says where: half of mankind, and most of its phones.
REGIONS = tuple(
    "AR AT AU BE BR CA CH CL CN CO CZ DE DK EG ES FI FR GB GR HK HU ID IE IL IN IT JP KR MX MY NG NL NO NZ PH PK PL PT"
    " RO RU SA SE SG TH TR TW UA US VN ZA".split()
)


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
