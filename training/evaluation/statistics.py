"""Tests and bounds for shares and for paired answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np


def binomial_p_value(errors: int, accepted: int, most: float) -> float:
    """P(at most `errors` errors among `accepted`) if the true error rate were `most`: small means that it is lower."""
    if accepted == 0:
        return 1.0
    log_odds = math.log(most) - math.log1p(-most)
    term = accepted * math.log1p(-most)
    total = 0.0
    for k in range(errors + 1):
        total += math.exp(term)
        term += math.log((accepted - k) / (k + 1)) + log_odds if k < accepted else 0.0
    return min(1.0, total)


LEVEL = 0.05
_HALVINGS = 50


def non_inferiority(champion: np.ndarray, challenger: np.ndarray, weights: np.ndarray | None = None) -> float:
    """How far the challenger's accuracy may lie below the champion's: a one-sided 95 % upper bound, as a share.

    Both say row by row who was right. The larger of two bounds: Tango's score bound for paired proportions (Tango 1998,
    Statistics in Medicine 17:891-908), and the exact binomial bound (Clopper and Pearson 1934) on the net loss, which
    holds where no answer was won and Tango's is too bold. Over n = 100 to 2000 rows and 1 to 10 % of discordant pairs,
    a challenger truly one point worse gets a bound of at most one point with a chance of 0.057 at worst and 0.036 on
    average; from Tango's alone with 0.068 at worst, from the adjusted Wald bound (Agresti and Min 2005) with 0.19.

    With `weights` the rows count as (Σw)² / Σw² rows (Kish's effective size), which is an approximation
    that holds where weight and right or wrong have nothing to do with each other.
    """
    lost, won, rows = _discordant(champion, challenger, weights)
    return max(_score_bound(lost, won, rows), _exact_bound(lost - won, rows))


def rows_needed(most_points: float = 0.01) -> int:
    """The fewest paired rows on which identical answers pass a bound of `most_points`: 299 for one point."""
    return math.ceil(math.log(LEVEL) / math.log1p(-most_points))


def worse_intents(
    labels: Sequence[str] | np.ndarray, champion: np.ndarray, challenger: np.ndarray, alpha: float = LEVEL
) -> list[str]:
    """The intents, surest first, on whose rows the challenger is worse: exact one-sided McNemar tests.

    Corrected after Holm over the intents with any discordant pair, so that a challenger nowhere worse meets a veto with
    probability `alpha` at most.
    """
    _check_pairs(champion, challenger)
    if len(labels) != len(champion):
        raise ValueError(f"{len(labels)} labels for {len(champion)} paired rows")
    p_values = {}
    for intent in sorted({str(label) for label in labels}):
        lost, won = _lost_and_won(intent, labels, champion, challenger)
        if lost + won:
            p_values[intent] = binomial_p_value(won, lost + won, 0.5)
    vetoed: list[str] = []
    for intent in sorted(p_values, key=lambda intent: p_values[intent]):
        if p_values[intent] > alpha / (len(p_values) - len(vetoed)):
            break
        vetoed.append(intent)
    return vetoed


def _check_pairs(champion: np.ndarray, challenger: np.ndarray) -> None:
    for name, right in (("champion", champion), ("challenger", challenger)):
        if right.ndim != 1 or right.dtype != np.bool_:
            raise TypeError(f"{name} must be a flat array of bool, got {right.dtype} of shape {right.shape}")
    if len(champion) != len(challenger):
        raise ValueError(
            f"the rows must be paired: {len(champion)} of the champion, {len(challenger)} of the challenger"
        )


def _lost_and_won(
    intent: str, labels: Sequence[str] | np.ndarray, champion: np.ndarray, challenger: np.ndarray
) -> tuple[int, int]:
    rows = np.asarray(labels) == intent
    return int((rows & champion & ~challenger).sum()), int((rows & challenger & ~champion).sum())


def _discordant(champion: np.ndarray, challenger: np.ndarray, weights: np.ndarray | None) -> tuple[float, float, float]:
    """Answers lost, answers won, and rows; with weights, in effective rows."""
    _check_pairs(champion, challenger)
    if len(champion) == 0:
        raise ValueError("there are no paired rows")
    lost, won = champion & ~challenger, challenger & ~champion
    if weights is None:
        return float(lost.sum()), float(won.sum()), float(len(champion))
    if weights.shape != champion.shape or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError("weights must be one finite number a row, none negative and not all zero")
    total = float(weights.sum())
    rows = total**2 / float((weights**2).sum())
    return float(weights[lost].sum()) / total * rows, float(weights[won].sum()) / total * rows, rows


def _score_bound(lost: float, won: float, rows: float) -> float:
    """The largest difference that Tango's score test does not reject."""
    z = NormalDist().inv_cdf(1 - LEVEL)
    low, high = (lost - won) / rows, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rows * middle - (lost - won) >= z * _score_deviation(lost, won, rows, middle):
            high = middle
        else:
            low = middle
    return high


def _score_deviation(lost: float, won: float, rows: float, difference: float) -> float:
    """Standard deviation of the net loss if the true difference were this, the rest fitted by maximum likelihood."""
    linear = -lost - won + (2 * rows - lost + won) * difference
    root = math.sqrt(max(0.0, linear**2 + 8 * rows * won * difference * (1 - difference)))
    won_share = (root - linear) / (4 * rows)
    return math.sqrt(max(0.0, rows * (2 * won_share + difference * (1 - difference))))


def _exact_bound(net: float, rows: float) -> float:
    """The largest share of losses that the binomial test does not reject, with caution; -1 for a net win."""
    errors, trials = math.ceil(net - 1e-9), math.floor(rows + 1e-9)
    if errors < 0:
        return -1.0
    if errors >= trials:
        return 1.0
    low, high = errors / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle < 1.0 and binomial_p_value(errors, trials, middle) > LEVEL:
            low = middle
        else:
            high = middle
    return high
