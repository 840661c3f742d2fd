"""A confidence sequence: an interval for a share that holds at every look, however often one looks.

After Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting": a share m is left out
once somebody who bets against it has multiplied their stake by 1/alpha, which happens with probability alpha at most,
ever, if m is true. The bets are a mixture over all constant ones, which for right and wrong answers has a closed form:
so two counts are the whole state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

ALPHA = 0.05
SURE = 0.7  # of the stake, on shares near the one that is expected; the rest on any share
STRENGTH = 40.0  # how near: as if so many answers had been seen
_STEPS = 50


def interval(agreed: int, asked: int, expected: float, alpha: float = ALPHA) -> tuple[float, float]:
    """The shares that are not left out after `asked` answers, of which `agreed` were right: (0, 1) of none.

    With probability at least 1 - `alpha` it holds the share at every look, the first to the last, if the share stays
    the same; of shares that move, it holds their mean at one look. It is narrowest near `expected`, which must not
    depend on the answers. Raises ValueError if the counts or `expected` are impossible.
    """
    if not 0 <= agreed <= asked or not 0 < expected < 1 or not 0 < alpha < 1:
        raise ValueError(f"expected 0 <= agreed <= asked and shares within (0, 1), got {agreed} of {asked}, {expected}")
    if not asked:
        return 0.0, 1.0
    gain, limit, found = _gain(agreed, asked, expected), -math.log(alpha), agreed / asked

    def left_out(share: float) -> bool:
        return gain - _log_chance(agreed, asked, share) >= limit

    low = _edge(left_out, 0.0, found) if agreed else 0.0
    high = _edge(left_out, 1.0, found) if agreed < asked else 1.0
    return low, high


def _gain(agreed: int, asked: int, expected: float) -> float:
    """The logarithm of what the mixture says is the probability of these answers, in their order."""
    sure = STRENGTH * expected, STRENGTH * (1 - expected)
    parts = [
        math.log(weight) + _log_beta(a + agreed, b + asked - agreed) - _log_beta(a, b)
        for weight, (a, b) in ((SURE, sure), (1 - SURE, (0.5, 0.5)))
    ]
    return max(parts) + math.log1p(math.exp(min(parts) - max(parts)))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_chance(agreed: int, asked: int, share: float) -> float:
    """The same if the share is this one."""
    right = agreed * math.log(share) if agreed else 0.0
    return right + ((asked - agreed) * math.log1p(-share) if agreed < asked else 0.0)


def _edge(left_out: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where shares begin to be left out, between one that is and one that is not."""
    for _ in range(_STEPS):
        middle = (outside + inside) / 2
        if left_out(middle):
            outside = middle
        else:
            inside = middle
    return outside
