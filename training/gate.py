"""The gate: may a challenger take the champion's place? Statistics over the same rows answered by both.

The challenger is published only if it has a certificate at the policy's target, is surely not more than one point less
accurate than the champion, is on no intent surely worse, does not defer more by over two points, and is not slower or
larger than stated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from training.calibrate import binomial_p_value

MIN_ROWS = 100
LEVEL = 0.05
_HALVINGS = 50


@dataclass(frozen=True)
class Verdict:
    """Whether to publish; if not, one sentence for each condition that failed; and the figures behind it."""

    published: bool
    reasons: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def surely_worse(self) -> bool:
        """Whether the challenger is significantly worse than the champion, in all or on an intent."""
        return bool(self.figures.get("vetoed")) or self.figures.get("p_not_worse", 1.0) <= LEVEL


@dataclass(frozen=True)
class Accepted:
    """Of the paired rows: which are accepted, and which of all are answered right by the tier that accepts them."""

    rows: np.ndarray
    correct: np.ndarray

    @property
    def coverage(self) -> float:
        return float(self.rows.mean()) if len(self.rows) else 0.0

    @property
    def agreement(self) -> float:
        """Among accepted; 0 where nothing is accepted."""
        return float(self.correct[self.rows].mean()) if self.rows.any() else 0.0


def judge(
    labels: Sequence[str] | np.ndarray,
    champion: np.ndarray | None,
    challenger: np.ndarray,
    certified: bool,
    target: float,
    latency_ratio: float,
    size_ratio: float,
    accepted: tuple[Accepted, Accepted] | None = None,
    most_points: float = 0.01,
    most_deferred: float = 0.02,
    most_latency: float = 1.5,
    most_size: float = 1.5,
) -> Verdict:
    """The verdict on a challenger; without a champion only `certified` (at the policy's `target`) counts.

    `labels` are the reference intents of the paired rows, `champion` and `challenger` whether each was right on them;
    the ratios are the challenger's over the champion's; `accepted` says what the champion and the challenger accept of
    the rows at `target`; `most_points` and `most_deferred` are shares (0.01 is one point).
    See `rows_needed` for how few rows can pass at all.
    """
    uncertified = [] if certified else [f"it has no certificate at the policy's target of {target:g}"]
    if champion is None:
        return Verdict(certified, tuple(uncertified), {"certified": certified, "target": target})
    vetoed = worse_intents(labels, champion, challenger)
    figures = {
        "certified": certified,
        "target": target,
        **_paired_figures(champion, challenger),
        "vetoed": vetoed,
        "latency_ratio": latency_ratio,
        "size_ratio": size_ratio,
        "coverage": [side.coverage for side in accepted] if accepted else None,
    }
    reasons = [
        *uncertified,
        *_accuracy_reasons(figures, most_points),
        *(_veto_reason(intent, labels, champion, challenger) for intent in vetoed),
        *(_deferral_reasons(*accepted, target, most_deferred) if accepted else ()),
        *_ratio_reasons("slower", latency_ratio, most_latency),
        *_ratio_reasons("larger", size_ratio, most_size),
    ]
    return Verdict(not reasons, tuple(reasons), figures)


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


def _paired_figures(champion: np.ndarray, challenger: np.ndarray) -> dict[str, Any]:
    rows, lost, won = len(champion), int((champion & ~challenger).sum()), int((challenger & ~champion).sum())
    return {
        "rows": rows,
        "champion_accuracy": float(champion.mean()) if rows else None,
        "challenger_accuracy": float(challenger.mean()) if rows else None,
        "lost": lost,
        "won": won,
        "p_not_worse": binomial_p_value(won, lost + won, 0.5) if lost + won else 1.0,
        "worse_by_at_most": non_inferiority(champion, challenger) if rows else None,
    }


def _accuracy_reasons(figures: dict[str, Any], most_points: float) -> list[str]:
    rows, bound = figures["rows"], figures["worse_by_at_most"]
    if rows < MIN_ROWS:
        return [f"{rows} rows are too few to compare it with the champion: at least {MIN_ROWS} are needed"]
    if bound <= most_points:
        return []
    told = f"{figures['lost']} answers lost and {figures['won']} won on {rows} rows"
    needed = rows_needed(most_points)
    short = f"; at least {needed} rows are needed even where no answer changes" if rows < needed else ""
    return [
        f"it may be up to {100 * bound:.2f} points less accurate than the champion, "
        f"more than the {100 * most_points:.2f} allowed ({told}{short})"
    ]


def _veto_reason(intent: str, labels: Sequence[str] | np.ndarray, champion: np.ndarray, challenger: np.ndarray) -> str:
    lost, won = _lost_and_won(intent, labels, champion, challenger)
    rows = sum(label == intent for label in labels)
    return f"it is worse on the intent {intent!r}: {lost} answers lost and {won} won on {rows} rows"


def _deferral_reasons(champion: Accepted, challenger: Accepted, target: float, most: float) -> list[str]:
    # Where the champion no longer keeps its promise, deferring more is what an honest challenger does.
    if champion.agreement < target or champion.coverage - challenger.coverage <= most:
        return []
    return [
        f"it would accept {challenger.coverage:.1%} of the rows where the champion accepts {champion.coverage:.1%}, "
        f"{champion.agreement:.1%} of them rightly: more than the {100 * most:.2f} points less that are allowed"
    ]


def _ratio_reasons(how: str, ratio: float, most: float) -> list[str]:
    # A ratio that is not a number fails as well.
    return [] if ratio <= most else [f"it is {how}: {ratio:.2f} times the champion, more than the {most:.2f} allowed"]
