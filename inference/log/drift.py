"""How far the own answers of exit and student to live traffic have moved from those to the calibration rows.

Like is compared with like: requests with sampled requests, distinct texts with distinct texts, whichever the bundle
was calibrated on, and on either side only where no rule answers before them. A shift is what chance does not explain,
given how many there are on both sides, and what is large enough to matter.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import BundleError, resolve
from inference.log.counts import CONFIDENCE_BINS, UNITS

FEWEST = 200  # in fewer a shift would hardly be found
ALPHA = 0.01  # the probability that chance alone is called a shift, of each kind
SHIFTED, FAR = 0.05, 0.25  # distances: the share that would have to move from one cell to another
DRAWS = 499
MOST_UNKNOWN = 0.05  # of the requests that no rule answered
KINDS = {"confidence": "confidence_histogram", "intent": "intent_mix"}

Counts = Mapping[str, Counter[str]]
NONE: Counter[str] = Counter()


def drift(counts: Counts, bundle: Path, processes: float = 1.0) -> dict[str, Any]:
    """How far confidence and intent mix have moved since calibration, each with a word for it. Raises BundleError.

    Each of `processes` counts a distinct text for itself.
    """
    unit, reference = read_reference(bundle)
    for_student = counts.get("requests", NONE)["all"] - counts.get("source", NONE)["rules"]
    unknown = for_student - counts.get("student_intent_requests", NONE).total()
    times = processes if unit == "texts" else 1.0
    return {kind: _of(counts.get(f"student_{kind}_{unit}", NONE), expected, unit, unknown, for_student, times)
            for kind, expected in reference.items()}  # fmt: skip


def _of(
    live: Mapping[str, int], expected: Mapping[str, float], unit: str, unknown: int, for_student: int, times: float
) -> dict[str, Any]:
    seen = sum(live.values())
    found: dict[str, Any] = {"index": None, "distance": None, "chance": None, "seen": seen, "unit": unit}
    if not sum(expected.values()):
        return found | {"verdict": "no reference in the bundle"}
    if unknown > MOST_UNKNOWN * for_student:
        why = f"of {for_student:,} requests {unknown:,} have no answer of the student's own"
        return found | {"verdict": f"incomplete: {why}"}
    if seen < FEWEST:
        return found | {"verdict": f"{seen} {unit} are too few, {FEWEST} are needed"}
    far, chance = moved(live, expected, times)
    verdict = "stable" if chance > ALPHA or far < SHIFTED else "some shift" if far < FAR else "large shift"
    return found | {"index": stability_index(live, expected), "distance": far, "chance": chance, "verdict": verdict}


def moved(live: Mapping[str, float], reference: Mapping[str, float], times: float = 1.0) -> tuple[float, float]:
    """How far two mixes are apart, as the share that would have to move, and how often chance moves them as far.

    By the likelihood ratio of two samples of one mix (the G-test), against `DRAWS` pairs that are drawn from the mix of
    both: so rare cells need no rule of thumb. `times` is how often each of the live ones was counted.
    """
    cells = sorted(set(live) | set(reference), key=str)
    here, there = (np.array([mix.get(cell, 0) for cell in cells], float) for mix in (live, reference))
    here /= times
    draw = np.random.default_rng(0)  # the same report twice says the same
    both = (here + there) / (here + there).sum()
    drawn = [draw.multinomial(max(1, round(mix.sum())), both, DRAWS) for mix in (here, there)]
    as_far = _likelihood_ratio(*drawn) >= _likelihood_ratio(here, there) - 1e-9
    distance = float(np.abs(here / here.sum() - there / there.sum()).sum() / 2)
    return distance, float((1 + as_far.sum()) / (1 + DRAWS))


def _likelihood_ratio(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The statistic of the G-test, over the last axis of counts by cell."""
    both = one + other
    total, found = both.sum(axis=-1, keepdims=True), 0.0
    for part in (one, other):
        expected = both * (part.sum(axis=-1, keepdims=True) / total)
        found = found + 2 * (part * np.log(np.where(part > 0, part, 1) / np.where(part > 0, expected, 1))).sum(axis=-1)
    return np.asarray(found)


def stability_index(live: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """The population stability index of two distributions, with half an observation added to every cell.

    By custom below 0.1 is stable, above 0.25 a large shift. It grows with the number of cells and shrinks with that of
    observations, of which the custom knows nothing: no verdict follows from it.
    """
    cells = set(live) | set(reference)
    total, scale = sum(live.values()), sum(live.values()) / sum(reference.values())
    index = 0.0
    for cell in cells:
        found = (live.get(cell, 0) + 0.5) / (total + 0.5 * len(cells))
        expected = (reference.get(cell, 0) * scale + 0.5) / (total + 0.5 * len(cells))
        index += (found - expected) * math.log(found / expected)
    return index


def read_reference(bundle: Path) -> tuple[str, dict[str, dict[str, float]]]:
    """What the student said of the calibration rows: their unit, and counts by kind, empty where it does not say.

    A bundle of an earlier version says no unit and was calibrated on texts. Raises BundleError if it cannot be read.
    """
    path = resolve(bundle) / "report.json"
    try:
        found = json.loads(path.read_bytes())["calibration"]
        unit = found.get("unit", "texts")
        if unit not in UNITS:
            raise ValueError(f"unit is {unit!r}, expected one of {', '.join(UNITS)}")
        mixes: dict[str, Any] = {kind: found.get(name) or {} for kind, name in KINDS.items()}
        mixes["confidence"] = mixes["confidence"] and _by_bin(mixes["confidence"])
        return unit, {kind: {str(k): float(v) for k, v in mix.items()} for kind, mix in mixes.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise BundleError(f"{path} has no readable calibration: {type(error).__name__}: {error}") from error


def _by_bin(histogram: list[float]) -> dict[int, float]:
    if len(histogram) != CONFIDENCE_BINS:
        raise ValueError(f"confidence_histogram has {len(histogram)} bins, expected {CONFIDENCE_BINS}")
    return dict(enumerate(histogram))
