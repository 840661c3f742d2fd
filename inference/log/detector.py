"""Whether a promise is broken now: a detector that may be asked after every answer, for ever.

After Shin, Ramdas and Rinaldo 2023, "E-detectors": for every moment at which agreement may have begun to fall, somebody
bets from then on that it is below the target. As long as it is not, each stake keeps its value on average at most, so
that all of them together are worth no more on average than there were answers. So the sum passes a limit of N after N
answers or more on average: that is how long it takes to a false alarm, whatever the answers depend on.
"""

from __future__ import annotations

LIMIT = 20_000.0  # answers to a false alarm, on average at least, where agreement is just at the target
SUSPECT = LIMIT / 10  # from which on another threshold is not turned to, or no longer relied on
# By how much the odds of a wrong answer have grown, if they have, and the share of the stake that is put on it.
_ODDS = ((1.8, 0.9), (4.0, 0.1))


class Detector:
    """Collects the evidence that fewer answers are right than `target` says. Its state is two numbers."""

    __slots__ = ("_bets", "_stakes")

    def __init__(self, target: float) -> None:
        self._bets = [_factors(target, odds) for odds, _ in _ODDS]
        self._stakes = [0.0] * len(_ODDS)

    def add(self, agreed: bool) -> None:
        """Take in the next answer in the order of time."""
        self._stakes = [
            (1.0 + stake) * (right if agreed else wrong)
            for stake, (right, wrong) in zip(self._stakes, self._bets, strict=True)
        ]

    @property
    def evidence(self) -> float:
        """What the stakes are worth: 0 at first; from `LIMIT` on it is an alarm."""
        return sum(share * stake for stake, (_, share) in zip(self._stakes, _ODDS, strict=True))


def _factors(target: float, odds: float) -> tuple[float, float]:
    """What a stake becomes with a right answer, and with a wrong one: on average the same, at the target."""
    wrong = (1 - target) * odds
    share = wrong / (target + wrong)
    return (1 - share) / target, share / (1 - target)
