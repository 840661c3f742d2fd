"""The gate: may a challenger take the champion's place? Statistics over the same rows answered by both.

The rows are sampled requests, once the live sample certifies, else base rows. The challenger is published only if it
has a certificate at the policy's target, is non-inferior to the champion (with 95 % confidence at most one point less
accurate) and to the anchor (at the anchor's level), is not significantly worse on any intent nor, where requests judge,
on the base rows, does not defer over two points more, and is not slower or larger than stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.evaluation.scored import Served
from training.evaluation.statistics import (
    LEVEL,
    discordant,
    non_inferiority,
    p_not_worse,
    rows_needed,
    significantly_below,
    worse_intents,
)

MIN_ROWS = 100
MOST_POINTS, MOST_DEFERRED = 0.01, 0.02  # shares: a loss of one point, and of two points of coverage
MOST_LATENCY, MOST_SIZE = 1.5, 1.5  # ratios


@dataclass(frozen=True)
class Verdict:
    """Whether to publish; if not, one sentence for each condition that failed; and the figures behind it."""

    published: bool
    reasons: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def significantly_worse(self) -> bool:
        """Whether the challenger is significantly worse than the champion, in all or on an intent.

        Each of the two at half the level, so that of harmless challengers one in twenty is called so at most.
        """
        return bool(self.figures.get("significantly_worse"))

    @property
    def gained(self) -> bool:
        """Whether the challenger is significantly better than the anchor."""
        return bool((self.figures.get("anchor") or {}).get("gained"))


@dataclass(frozen=True)
class Pairs:
    """Rows that two models answered: the reference intents, and whether each was right. Arrays of one length."""

    labels: Sequence[str] | np.ndarray
    champion: np.ndarray
    challenger: np.ndarray

    def with_(self, other: Pairs | None) -> Pairs:
        """Both sets of rows together."""
        if other is None:
            return self
        names = ("champion", "challenger")
        both = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        return Pairs([*self.labels, *other.labels], *both)


def judge(
    pairs: Pairs | None,
    certified: bool,
    target: float,
    latency_ratio: float = 1.0,
    size_ratio: float = 1.0,
    accepted: tuple[Served, Served] | None = None,
    base: Pairs | None = None,
    anchor: tuple[np.ndarray, float] | None = None,
    promised: Served | None = None,
) -> Verdict:
    """The verdict on a challenger; without a champion (`pairs` None) only `certified`, at the policy's target, counts.

    The ratios are the challenger's over the champion's; `accepted` says what the champion and the challenger answer
    to the rows of `pairs` at `target`. `base` are further rows, of the base data, where `pairs` are requests.
    `anchor` says whether the anchor was right on the rows of `pairs`, and at which level the loss against it is
    tested. `promised` is what the champion answers to the rows that its promise is of, where these are others than
    the rows of `pairs`. See `rows_needed` for how few rows can pass at all.
    """
    uncertified = [] if certified else [f"it has no certificate at the policy's target of {target:g}"]
    if pairs is None:
        return Verdict(certified, tuple(uncertified), {"certified": certified, "target": target})
    every = pairs.with_(base)
    vetoed = worse_intents(every.labels, every.champion, every.challenger)
    figures = {
        "certified": certified,
        "target": target,
        **_paired_figures(pairs.champion, pairs.challenger),
        "base": _paired_figures(base.champion, base.challenger) if base else None,
        "anchor": _anchor_figures(anchor, pairs.challenger) if anchor else None,
        "vetoed": vetoed,
        "significantly_worse": _significantly_worse(pairs, every),
        "latency_ratio": latency_ratio,
        "size_ratio": size_ratio,
        "coverage": [side.coverage for side in accepted] if accepted else None,
    }
    reasons = [
        *uncertified,
        *_accuracy_reasons(figures, MOST_POINTS),
        *_anchor_reasons(figures["anchor"], MOST_POINTS),
        *_base_reasons(figures["base"]),
        *(_veto_reason(intent, every) for intent in vetoed),
        *(_deferral_reasons(*accepted, promised or accepted[0], target, MOST_DEFERRED) if accepted else ()),
        *_ratio_reasons("slower", latency_ratio, MOST_LATENCY),
        *_ratio_reasons("larger", size_ratio, MOST_SIZE),
    ]
    return Verdict(not reasons, tuple(reasons), figures)


def _significantly_worse(pairs: Pairs, every: Pairs) -> bool:
    in_all = p_not_worse(*discordant(pairs.champion, pairs.challenger)) <= LEVEL / 2
    return in_all or bool(worse_intents(every.labels, every.champion, every.challenger, LEVEL / 2))


def _paired_figures(champion: np.ndarray, challenger: np.ndarray) -> dict[str, Any]:
    rows, (lost, won) = len(champion), discordant(champion, challenger)
    return {
        "rows": rows,
        "champion_accuracy": float(champion.mean()) if rows else None,
        "challenger_accuracy": float(challenger.mean()) if rows else None,
        "lost": lost,
        "won": won,
        "p_not_worse": p_not_worse(lost, won),
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


def _anchor_figures(anchor: tuple[np.ndarray, float], challenger: np.ndarray) -> dict[str, Any]:
    right, level = anchor
    lost, won = discordant(right, challenger)
    bound = non_inferiority(right, challenger, level) if len(right) else 1.0
    gained = p_not_worse(won, lost) <= level
    return {"lost": lost, "won": won, "level": level, "worse_by_at_most": bound, "gained": gained}


def _anchor_reasons(figures: dict[str, Any] | None, most_points: float) -> list[str]:
    if figures is None or figures["worse_by_at_most"] <= most_points:
        return []
    return [
        f"it may be up to {100 * figures['worse_by_at_most']:.2f} points less accurate than the best version so far, "
        f"more than the {100 * most_points:.2f} allowed ({figures['lost']} answers lost and {figures['won']} won; "
        f"tested at the level {figures['level']:.2g}, so that small losses cannot add up)"
    ]


def _base_reasons(figures: dict[str, Any] | None) -> list[str]:
    if figures is None or figures["p_not_worse"] > LEVEL / 2:
        return []
    told = f"{figures['lost']} answers lost and {figures['won']} won on {figures['rows']} rows"
    return [f"it is significantly worse on the base data: {told}"]


def _veto_reason(intent: str, pairs: Pairs) -> str:
    rows = np.asarray(pairs.labels) == intent
    lost, won = discordant(pairs.champion[rows], pairs.challenger[rows])
    told = f"{lost} answers lost and {won} won on {rows.sum()} rows"
    return f"it is significantly worse on the intent {intent!r}: {told}"


def _deferral_reasons(champion: Served, challenger: Served, promised: Served, target: float, most: float) -> list[str]:
    # Where the champion no longer keeps its promise, deferring more is what an honest challenger does.
    right, rows = int(promised.correct[promised.accepted].sum()), int(promised.accepted.sum())
    broken = rows == 0 or significantly_below(right, rows, target)
    if broken or champion.coverage - challenger.coverage <= most:
        return []
    return [
        f"it would accept {challenger.coverage:.1%} of the rows where the champion accepts {champion.coverage:.1%}, "
        f"{champion.agreement:.1%} of them rightly: more than the {100 * most:.2f} points less that are allowed"
    ]


def _ratio_reasons(how: str, ratio: float, most: float) -> list[str]:
    # A ratio that is not a number fails as well.
    return [] if ratio <= most else [f"it is {how}: {ratio:.2f} times the champion, more than the {most:.2f} allowed"]
