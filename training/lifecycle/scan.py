"""What could be answered locally, foretold from labelled rows before anything is trained.

The rows are divided at random as training would divide them, several times: a head on the frozen encoder is fitted to
one part, and certified on the others by the real tests. For two and four times as many rows, samples of that size are
drawn, with replacement, from what students of nearly all rows say of the rest. Rules are left out, and nothing is
fine-tuned, which as a rule makes a better student.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.dataset import Dataset
from training.data.plan import FEWEST_ROWS
from training.data.sizes import Goal, shares
from training.data.splits import SPLITS
from training.evaluation.certificate import certify_goal
from training.evaluation.growth import DRAWS, FACTORS, judging_rows, redrawn
from training.evaluation.statistics import significantly_below
from training.student.halves import Answers, Features, Known, Recipe, parts
from training.student.targets import CELLS

DIVISIONS = 5
FOLDS = 6
FEWEST = 50  # groups of near-duplicates: of fewer no half says anything of the other
HALF = 0.5  # an intent of which less is answered locally does not go local


@dataclass(frozen=True)
class Outlook:
    """What to expect of so many rows at one target: the chance of a certificate, and the mean coverage given one."""

    rows: int
    chance: float
    coverage: float | None


@dataclass(frozen=True)
class Intent:
    """One intent at the target in mind. `agreement` is the share of its rows that students answer as labelled.

    `local` is the share that is answered so without a teacher, given a certificate; `why` says in words why that is
    less than half, "" where it is not.
    """

    name: str
    rows: int
    agreement: float
    local: float
    why: str


@dataclass(frozen=True)
class Scan:
    """What was found: `agreement` is the students' of one division, `outlooks` are by target for n, 2n and 4n rows."""

    rows: int
    agreement: float
    outlooks: dict[float, tuple[Outlook, ...]]
    intents: tuple[Intent, ...]


def scan(data: Dataset, goals: Sequence[Goal], features: Features, draws: int = DRAWS) -> Scan:
    """Foretell what training certifies for each goal. The intents are looked at under the first.

    `features` embeds rows: shape (rows, hidden). `draws` samples say what each size certifies. The splits of `data` do
    not matter, but for what they keep apart. Raises ValueError if there are too few rows.
    """
    groups, judging = grouped(data)
    count = len(judging)
    if count < FEWEST:
        raise ValueError(
            f"{count} distinct rows (near-duplicates count once) are too few to scan: at least {FEWEST} are needed; "
            "python -m training.label labels more"
        )
    if len(data.rows) * len(data.taxonomy.names) > CELLS:
        most = CELLS // len(data.taxonomy.names)
        raise ValueError(f"{len(data.rows):,} rows are too many to scan: take {most:,} of them at random")
    known = Known.of(data.rows, data.taxonomy.names, features)
    loosest = min(goals, key=lambda goal: goal.target)
    halves, whole = _students(known, groups, judging, round(shares(count, loosest)[0] * count))
    now = [_Now.of(halves, known, count, goal, draws) for goal in goals]
    outlooks = {
        goal.target: (of_goal.outlook, *(_later(whole, known, count, factor, goal, draws) for factor in FACTORS[1:]))
        for goal, of_goal in zip(goals, now, strict=True)
    }
    intents = _intents(halves, now[0], data.taxonomy.names, known, count, goals[0])
    agreement = float(np.concatenate([half.correct for half in halves]).mean())
    return Scan(count, agreement, dict(sorted(outlooks.items())), intents)


def grouped(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Each row's group of near-duplicates as a number, shape (rows,), and the places of one row of each group."""
    names = [f"group {row.group}" if row.group else str(i) for i, row in enumerate(data.rows)]
    place = {row.key: i for i, row in enumerate(data.rows)}
    drawn = [place[row.key] for split in SPLITS for row in data.trials(split)]
    return np.unique(names, return_inverse=True)[1], np.array(sorted(drawn))


def _students(known: Known, groups: np.ndarray, judging: np.ndarray, train: int) -> tuple[list[Answers], Answers]:
    """What students of so many groups say of the others, by division, and students of nearly all of the rest."""
    divided = list(parts(groups, train, DIVISIONS))
    recipe = Recipe.chosen(known, divided[0][0])
    halves = [recipe.answers(known, seen, np.intersect1d(new, judging)) for seen, new in divided]
    return halves, recipe.cross_validated(known, judging, FOLDS)


@dataclass(frozen=True)
class _Now:
    """The outlook with the present rows; how often each row was judged under a certificate, and accepted as right."""

    outlook: Outlook
    judged: np.ndarray
    accepted: np.ndarray

    @classmethod
    def of(cls, halves: Sequence[Answers], known: Known, count: int, goal: Goal, draws: int) -> _Now:
        judged, accepted = np.zeros((2, len(known.rows)))
        coverages = []
        for half, above, scores in _certified(halves, known, count, goal, draws):
            coverages.append(None if above is None else float((scores > above).mean()))
            if above is not None:
                judged[half.rows] += 1
                accepted[half.rows] += (scores > above) & half.correct
        return cls(_outlook(count, coverages), judged, accepted)


def _certified(
    halves: Sequence[Answers], known: Known, count: int, goal: Goal, draws: int
) -> Iterator[tuple[Answers, float | None, np.ndarray]]:
    """For every draw of dev and calibration: the students' answers, the threshold, and the scores."""
    rng = np.random.default_rng(0)
    dev, calibration = judging_rows(count, goal)
    counts = np.bincount(known.given, minlength=known.target.shape[1])
    for half in halves:
        for _ in range(draws // len(halves)):
            order = rng.permutation(len(half.rows))
            i, j = order[:dev], order[dev : dev + calibration]
            scores = _scores(half, counts - np.bincount(half.given[j], minlength=len(counts)))
            yield (
                half,
                certify_goal((scores[i], half.correct[i]), (scores[j], half.correct[j]), goal).accept_above,
                scores,
            )


def _later(whole: Answers, known: Known, count: int, factor: int, goal: Goal, draws: int) -> Outlook:
    """The outlook with so many times as many rows; the students have seen the present ones alone."""
    rng = np.random.default_rng(0)
    rows = count * factor
    beside = 1 - judging_rows(rows, goal)[1] / rows
    scores = _scores(whole, np.bincount(known.given, minlength=known.target.shape[1]) * factor * beside)
    samples = redrawn((scores, whole.correct), rows, goal, rng, draws)
    found = [certify_goal(*pair, goal).accept_above for pair in samples]
    return _outlook(rows, [None if above is None else float((scores > above).mean()) for above in found])


def _scores(answers: Answers, counts: np.ndarray) -> np.ndarray:
    """Confidences, -inf for intents that are never accepted: `counts` are their rows that do not calibrate."""
    return np.where(counts[answers.said] < FEWEST_ROWS, -np.inf, answers.confidence)


def _outlook(rows: int, coverages: Sequence[float | None]) -> Outlook:
    found = [coverage for coverage in coverages if coverage is not None]
    return Outlook(rows, len(found) / len(coverages), float(np.mean(found)) if found else None)


def _intents(
    halves: Sequence[Answers], now: _Now, names: Sequence[str], known: Known, count: int, goal: Goal
) -> tuple[Intent, ...]:
    said, given = (np.concatenate([getattr(half, name) for half in halves]) for name in ("said", "given"))
    fewest = math.ceil(FEWEST_ROWS / (1 - judging_rows(count, goal)[1] / count))
    found = []
    for i, name in enumerate(names):
        mine, answers = known.given == i, said[given == i]
        judged = now.judged[mine].sum()
        local = float(now.accepted[mine].sum() / judged) if judged else 0.0
        agreement = float((answers == i).mean()) if len(answers) else 0.0
        why = "" if local >= HALF else _why(int(mine.sum()), fewest, i, answers, names, goal, bool(now.outlook.chance))
        found.append(Intent(name, int(mine.sum()), agreement, local, why))
    return tuple(sorted(found, key=lambda one: (one.local, one.agreement, one.name)))


def _why(
    rows: int, fewest: int, own: int, answers: np.ndarray, names: Sequence[str], goal: Goal, certified: bool
) -> str:
    """Why an intent does not go local. `answers` are what students said of its rows, as numbers."""
    if rows < fewest:
        return f"too few rows: about {fewest} are needed"
    right = int((answers == own).sum())
    if significantly_below(right, len(answers), goal.target):
        wrong = collections.Counter(answers[answers != own].tolist())
        [(other, taken)] = wrong.most_common(1)
        return f"low agreement: {taken / len(answers):.0%} are taken for {names[other]}"
    return "answered right, but not surely" if certified else "no certificate with so few rows"
