"""Does the promise survive a whole lineage of refreshes, and which rows may calibrate?

    python -m benchmarks.refreshes [--histories 200] [--bundle models/clinc150 --data DIR]

Both tables draw from a pool of real scores, whose own risk is the truth (see `benchmarks.certificate`). A version is
a simulated student: the last one with some answers changed, a few mistakes mended and the scores jittered.

1. Histories of many versions: each is certified on a uniform sample that grows from round to round, with its share of
   the lineage's delta. Beside it one calibration set used again and again at the full delta: on the same versions, and
   where each round keeps, of a few candidates, the one that looks best on that set. A history is broken if any of its
   versions is.
2. A new version calibrated on rows that the serving one's decisions selected, beside the uniform sample alone.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.certificate import DELTA, Pool, broken_allowed, parse_with_pool
from inference.bundle.manifest import Certificate
from training.data.looks import look_delta
from training.evaluation.certificate import certify, thresholds_to_test

VERSIONS = 50
DEV_ROWS = 500
FIRST_ROWS, NEW_ROWS = 1500, 100  # calibration rows of the first version, and those that each round adds
CHURN = 0.01  # answers that may change from version to version: two seeds of one student differ on about as many
MENDED = 0.01  # share of mistakes mended from version to version
JITTER = 0.4  # standard deviation in log-odds
NEIGHBOURS = 100  # rows on each side that say how often a score is right
CANDIDATES = 4  # students that a round trains where the best is chosen
AHEAD = 5  # versions between the one that serves and the one that is calibrated
MIXES = (
    ("deferred", 0.0),
    ("deferred", 0.5),
    ("deferred", 0.8),
    ("deferred", 1.0),
    ("accepted", 0.5),
    ("accepted", 0.8),
    ("accepted", 1.0),
)


@dataclass(frozen=True)
class Version:
    """A student's scores and correctness on every row of the pool, or on some of them."""

    scores: np.ndarray
    correct: np.ndarray

    def on(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.scores[rows], self.correct[rows]

    def accepted(self, certificate: Certificate) -> np.ndarray:
        return self.scores > (math.inf if certificate.accept_above is None else certificate.accept_above)

    def truth(self, certificate: Certificate) -> tuple[float, float]:
        """The true agreement among what is accepted, nan where nothing is, and the true coverage."""
        accepted = self.accepted(certificate)
        return float(self.correct[accepted].mean()) if accepted.any() else math.nan, float(accepted.mean())


class Students:
    """Ever slightly better students over the rows of a pool; the first is the pool's own."""

    def __init__(self, pool: Pool, rng: np.random.Generator) -> None:
        rows = np.arange(len(pool.scores))
        low, high = np.maximum(rows - NEIGHBOURS, 0), np.minimum(rows + NEIGHBOURS, len(rows))
        self._right = 1 - (pool.errors[high] - pool.errors[low]) / (high - low)
        self._log_odds = np.log(pool.scores) - np.log1p(-pool.scores.clip(max=1 - 1e-9))
        self._rng = rng
        self.first = Version(pool.scores, pool.correct)

    def after(self, version: Version) -> Version:
        """The next one: a changed answer is right as often as its score is in the pool."""
        chance = self._rng.random((3, len(self._right)))
        correct = np.where(chance[0] < CHURN, chance[1] < self._right, version.correct) | (chance[2] < MENDED)
        return Version(1 / (1 + np.exp(-self._rng.normal(self._log_odds, JITTER))), correct)


@dataclass(frozen=True)
class Step:
    """A version of a history: its certificate, and the true agreement and coverage."""

    certificate: Certificate
    agreement: float
    coverage: float

    @property
    def broken(self) -> bool:
        return self.agreement < self.certificate.target  # never where nothing is accepted: nan


def step(version: Version, dev: np.ndarray, calibration: np.ndarray, target: float, delta: float) -> Step:
    order = thresholds_to_test(*version.on(dev), target)
    certificate = certify(order, *version.on(calibration), target, delta)
    return Step(certificate, *version.truth(certificate))


def histories(pool: Pool, target: float, count: int, rng: np.random.Generator) -> tuple[list[Step], ...]:
    """One history of `count` versions certified by lineage and on one set re-used, and one that also chooses on it."""
    dev = rng.integers(0, len(pool.scores), DEV_ROWS)
    sample = rng.integers(0, len(pool.scores), FIRST_ROWS + NEW_ROWS * count)
    students, first = Students(pool, rng), sample[:FIRST_ROWS]
    version = students.first
    lineage, reused = [], []
    for number in range(1, count + 1):
        grown = sample[: FIRST_ROWS + NEW_ROWS * (number - 1)]
        lineage.append(step(version, dev, grown, target, look_delta(DELTA, number)))
        reused.append(step(version, dev, first, target, DELTA))
        version = students.after(version)
    return lineage, reused, chosen_history(students, dev, first, target, count)


def chosen_history(
    students: Students, dev: np.ndarray, calibration: np.ndarray, target: float, count: int
) -> list[Step]:
    """Each round keeps the candidate that covers most of the calibration rows, and goes on from it."""
    best = students.first
    steps = [step(best, dev, calibration, target, DELTA)]
    while len(steps) < count:
        candidates = [students.after(best) for _ in range(CANDIDATES)]
        taken = [step(candidate, dev, calibration, target, DELTA) for candidate in candidates]
        kept = max(range(CANDIDATES), key=lambda i: taken[i].certificate.coverage)
        best = candidates[kept]
        steps.append(taken[kept])
    return steps


def calibration_rows(serving: np.ndarray, source: str, share: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` rows: a `share` from those that the serving version deferred or accepted, the rest a uniform sample.

    Where it deferred or accepted none, all are a uniform sample.
    """
    chosen = np.flatnonzero(serving if source == "accepted" else ~serving)
    selected = round(share * size) if len(chosen) else 0
    uniform = rng.integers(0, len(serving), size - selected)
    return np.concatenate([uniform, rng.choice(chosen, selected)]) if selected else uniform


def mix(pool: Pool, target: float, source: str, share: float, draws: int) -> list[Step]:
    """Certify a later version on rows that the serving one's decisions selected; its thresholds come from uniform rows.

    The serving version is the pool's own, properly certified on a uniform sample.
    """
    rng = np.random.default_rng(2)
    students = Students(pool, rng)
    steps = []
    for _ in range(draws):
        dev, sample = (rng.integers(0, len(pool.scores), size) for size in (DEV_ROWS, FIRST_ROWS))
        serving = students.first.accepted(step(students.first, dev, sample, target, DELTA).certificate)
        version = students.first
        for _ in range(AHEAD):
            version = students.after(version)
        rows = calibration_rows(serving, source, share, FIRST_ROWS, rng)
        steps.append(step(version, dev, rows, target, DELTA))
    return steps


def promised_and_true(steps: Sequence[Step]) -> tuple[float, float]:
    """Mean agreement on the calibration rows and in truth, where anything is accepted."""
    found = [(taken.certificate.agreement, taken.agreement) for taken in steps if not math.isnan(taken.agreement)]
    return (float(np.mean([f[0] for f in found])), float(np.mean([f[1] for f in found]))) if found else (math.nan,) * 2


def print_histories(pool: Pool, target: float, count: int, runs: int) -> None:
    rng = np.random.default_rng(1)
    lineage, reused, chosen = zip(*(histories(pool, target, count, rng) for _ in range(runs)), strict=True)
    print(f"{runs} histories of {count} versions, target {target}, delta {DELTA:.4f} for the lineage")
    print(f"the promise is kept if at most {broken_allowed(runs):.4f} of the histories are broken\n")
    shown = sorted({1, min(10, count), count})
    coverage = "".join(f"{f'cover v{number}':>11}" for number in shown)
    print(f"{'calibration':<42}{'broken':>8}{'last is':>9}{'promised':>10}{'true':>8}{coverage}")
    for name, found in (
        ("growing sample, delta spent by version", lineage),
        ("one set re-used at full delta", reused),
        (f"one set re-used, best of {CANDIDATES} kept by it", chosen),
    ):
        print(f"{name:<42}{_history_figures(found, shown)}")


def _history_figures(found: Sequence[list[Step]], shown: Sequence[int]) -> str:
    broken = np.mean([any(taken.broken for taken in steps) for steps in found])
    last = [steps[-1] for steps in found]
    promised, true = promised_and_true(last)
    coverage = "".join(f"{np.mean([steps[number - 1].coverage for steps in found]):>11.3f}" for number in shown)
    return f"{broken:>8.3f}{np.mean([taken.broken for taken in last]):>9.3f}{promised:>10.3f}{true:>8.3f}{coverage}"


def print_mixes(pool: Pool, target: float, draws: int) -> None:
    print(f"\n{draws} draws of {FIRST_ROWS} calibration rows, target {target}, delta {DELTA:.4f}")
    print(f"the promise is kept if at most {broken_allowed(draws):.4f} of the draws are broken\n")
    print(f"{'calibration rows':<42}{'broken':>8}{'promised':>10}{'true':>8}{'coverage':>10}")
    for source, share in MIXES:
        steps = mix(pool, target, source, share, draws)
        promised, true = promised_and_true(steps)
        broken, coverage = (np.mean([getattr(taken, what) for taken in steps]) for what in ("broken", "coverage"))
        name = f"{1 - share:.0%} uniform sample" + (f", {share:.0%} {source}" if share else "")
        print(f"{name:<42}{broken:>8.3f}{promised:>10.3f}{true:>8.3f}{coverage:>10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--versions", type=int, default=VERSIONS)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--target", type=float, default=0.95)
    arguments, pool = parse_with_pool(parser)
    print_histories(pool, arguments.target, arguments.versions, arguments.histories)
    print_mixes(pool, arguments.target, arguments.draws)


if __name__ == "__main__":
    main()
