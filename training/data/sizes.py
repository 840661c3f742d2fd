"""How many rows judge: the shares of dev, calibration and test, by the number of rows that are to be divided.

Rows that judge cannot train, and a certificate needs so many that a test can pass at all. docs/LOG.md has the figures
behind the shares. All counts are of near-duplicate groups, for a group is one trial.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

from training.data.looks import look_delta

DEV, CALIBRATION, TEST, MOST_OF_TEST = 0.10, 0.32, 0.05, 0.10
LEAST_TEST = 100  # rows, as long as these are at most a tenth
MOST_DEV, MOST_CALIBRATION, MOST_TEST = 1_500, 5_000, 2_000
OF_VAL = DEV / (DEV + CALIBRATION)  # dev's share of a val file that is divided into dev and calibration
MOST_OF_DELTA = 0.9  # the share of delta that the certificate of the user's own target gets

Shares = tuple[float, ...]  # of train, dev, calibration and test


@dataclass(frozen=True)
class Goal:
    """What is to be certified: the user's target, and the delta of the first look at the calibration rows."""

    target: float = 0.95
    delta: float = look_delta(0.05, 1)

    @property
    def fewest_trials(self) -> int:
        """The fewest accepted rows, all of them right, on which the target can be certified."""
        return math.ceil(math.log(MOST_OF_DELTA * self.delta) / math.log(self.target))

    @property
    def fewest_rows(self) -> int:
        """The fewest rows to divide of which so many calibrate."""
        return math.ceil(self.fewest_trials / CALIBRATION)

    def beside(self, intents: int) -> Goal:
        """The goal of the pooled certificates beside those of so many intents with targets of their own."""
        return replace(self, delta=equal_part(self.delta, intents))


def equal_part(delta: float, intents: int) -> float:
    """What each of so many intents with targets of their own may spend, and all pooled certificates together."""
    return delta / (intents + 1)


def shares(rows: int, goal: Goal) -> Shares:
    """The shares for so many rows with no split of their own. Where nothing can be certified, none calibrate."""
    rows = max(rows, 1)
    dev = min(DEV, MOST_DEV / rows)
    test = min(MOST_OF_TEST, max(TEST, LEAST_TEST / rows), MOST_TEST / rows)
    calibration = min(CALIBRATION, MOST_CALIBRATION / rows) if rows >= goal.fewest_rows else 0.0
    return (1 - dev - calibration - test, dev, calibration, test)


def shares_of_train(rows: int, goal: Goal, missing: Collection[str]) -> Shares:
    """The same for a train file that gives up rows for each split in `missing`, which has no file of its own."""
    _, *parts = shares(rows, goal)
    held = [part if name in missing else 0.0 for name, part in zip(("dev", "calibration", "test"), parts, strict=True)]
    return (1 - sum(held), *held)


def shares_of_val(rows: int, goal: Goal, calibrates: bool) -> Shares:
    """The same for a val file, which `calibrates` unless there is a calibration file."""
    if not calibrates or rows * (1 - OF_VAL) < goal.fewest_trials:
        return (0.0, 1.0, 0.0, 0.0)
    return (0.0, OF_VAL, 1 - OF_VAL, 0.0)
