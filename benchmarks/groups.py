"""Is the promise of base data kept where rows are not alike: near-duplicates in groups, and intents with a long tail?

    python -m benchmarks.groups [--histories 400] [--out cells.jsonl] [--quick]

Each history draws data, splits them by the project's own hash and shares, draws one trial a group, certifies the user's
target, and looks up what the threshold does to fresh draws of the same kind. It is broken if less than the target is
right. "rows" counts every row of a group as a trial, as is commonly done. In five histories of each cell the rows go
through `divide` and `Dataset` as well, which must agree row for row. With --out, cells that are done are not run again.
"""

from __future__ import annotations

import argparse
import collections
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.cells import Cells, allowed
from inference.bundle.taxonomy import Taxonomy
from training.data.dataset import Dataset
from training.data.looks import look_delta
from training.data.plan import FEWEST_ROWS
from training.data.rows import Row
from training.data.sizes import Goal, shares
from training.data.splits import SPLITS, Linked, divide, pick
from training.evaluation.certificate import certify, delta_shares, thresholds_to_test

DELTA = look_delta(0.05, 1)
ROWS = 6000
TOGETHER = 0.9  # the chance that a row is right or wrong as its group is
CHECKED = 5
INTENTS, DIMENSIONS, NOISE = 150, 24, 0.95
FRESH = 20_000
Scores = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Cell:
    """One kind of data. `law` is the exponent of the sizes of groups, or of the shares of intents."""

    kind: str
    size: int
    law: float
    target: float

    @property
    def goal(self) -> Goal:
        return Goal(self.target, DELTA)

    @property
    def delta(self) -> float:
        return delta_shares(DELTA, self.target)[self.target]


@dataclass
class Found:
    """What a cell's histories showed: how many were certified, broken, and broken with every row as a trial."""

    histories: int = 0
    certified: int = 0
    broken: int = 0
    broken_by_rows: int = 0
    coverage: float = 0.0


CELLS = [
    *(Cell("groups", size, law, t) for size in (200, 500, 1000, 2000) for law in (0.0, 0.8, 1.0) for t in (0.90, 0.95)),
    *(Cell("intents", size, 1.0, t) for size in (1000, 1500, 2000, 3000) for t in (0.90, 0.95)),
]
QUICK = [Cell("groups", 500, 0.8, 0.95), Cell("groups", 2000, 1.0, 0.90), Cell("intents", 1500, 1.0, 0.90)]


def zipf(count: int, law: float) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1) ** law
    return np.asarray(weights / weights.sum())


def threshold(dev: Scores, calibration: Scores, cell: Cell) -> float | None:
    order = thresholds_to_test(*dev, cell.target)
    return certify(order, *calibration, cell.target, cell.delta).accept_above


def risk(scores: np.ndarray, correct: np.ndarray, above: float | None) -> float:
    accepted = scores > (np.inf if above is None else above)
    return float((~correct[accepted]).mean()) if accepted.any() else 0.0


def split_of(keys: list[str], cell: Cell, salt: str) -> np.ndarray:
    """The split of every group, as an index into SPLITS."""
    parts = shares(len(keys), cell.goal)
    return np.array([SPLITS.index(pick(key, parts, salt)) for key in keys])


def drawn_groups(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of groups, and whether most of their rows are right."""
    scores = rng.beta(4, 1, count)
    return scores, rng.random(count) < 1 - (1 - scores) ** 1.5


def row_right(rng: np.random.Generator, right: np.ndarray) -> np.ndarray:
    return right ^ (rng.random(len(right)) >= TOGETHER + (1 - TOGETHER) * right)


def groups_history(cell: Cell, rng: np.random.Generator, number: int, truth: Scores, found: Found) -> None:
    scores, right = drawn_groups(rng, cell.size)
    extra = rng.choice(cell.size, max(ROWS - cell.size, 0), p=zipf(cell.size, cell.law))
    of = np.concatenate([np.arange(cell.size), extra])
    correct = row_right(rng, right[of])
    keys = [f"{number}-{i:05}" for i in range(cell.size)]
    split = split_of(keys, cell, f"salt{number}")
    trial = _one_a_group(of, rng)
    if number < CHECKED:
        trial = _checked(of, keys, split, cell, f"salt{number}")
    parts = [trial[split == SPLITS.index(name)] for name in ("dev", "calibration")]
    above = threshold(*[(scores[of[rows]], correct[rows]) for rows in parts], cell)
    by_rows = [np.flatnonzero(split[of] == SPLITS.index(name)) for name in ("dev", "calibration")]
    naive = threshold(*[(scores[of[rows]], correct[rows]) for rows in by_rows], cell)
    _count(found, cell, above, truth)
    found.broken_by_rows += risk(*truth, naive) > 1 - cell.target


def _one_a_group(of: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random row of every group."""
    order = rng.permutation(len(of))
    _, first = np.unique(of[order], return_index=True)
    return order[first]


def _checked(of: np.ndarray, keys: list[str], split: np.ndarray, cell: Cell, salt: str) -> np.ndarray:
    """The trials that the project's own code draws, after it has split the rows; the splits must be those expected."""
    names, places = [], {}
    seen: collections.Counter[int] = collections.Counter()
    for i, group in enumerate(of):
        names.append(keys[group] + (f"-{seen[group]:05}" if seen[group] else ""))
        places[names[-1]] = i
        seen[group] += 1
    firsts = {group: i for i, group in reversed(list(enumerate(of)))}
    pairs = [(firsts[g], i) for i, g in enumerate(of) if firsts[g] != i]
    linked = Linked([(name,) for name in names], ("",) * len(names), pairs)
    placed = divide(linked, {"": shares(cell.size, cell.goal)}, {}, salt, collections.Counter())
    assert [placed[name] for name in names] == [SPLITS[split[group]] for group in of]
    rows = tuple(Row(n, n, "a", split=placed[n], group=keys[of[places[n]]]) for n in names)
    data = Dataset(rows, Taxonomy.of(["a", "b"]), {}, ())
    trials = sorted((places[row.id] for name in SPLITS for row in data.trials(name)), key=lambda i: of[i])
    assert [int(of[i]) for i in trials] == list(range(cell.size))
    return np.array(trials)


def intents_history(cell: Cell, rng: np.random.Generator, number: int, _: object, found: Found) -> None:
    """A nearest-mean student of messages around the centres of their intents; rare intents are in the traffic too."""
    centres = rng.normal(0, 1, (INTENTS, DIMENSIONS)) * math.sqrt(4 / DIMENSIONS)
    share = zipf(INTENTS, cell.law)

    def messages(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.choice(INTENTS, count, p=share)
        return centres[labels] + rng.normal(0, NOISE * math.sqrt(4 / DIMENSIONS), (count, DIMENSIONS)), labels

    vectors, labels = messages(cell.size)
    keys = [f"{number}-{i:05}" for i in range(cell.size)]
    split = split_of(keys, cell, f"salt{number}")
    train = split == 0
    counted = labels[split != SPLITS.index("calibration")]
    never = (np.bincount(counted, minlength=INTENTS) < FEWEST_ROWS) | ~np.isin(np.arange(INTENTS), labels[train])
    if number < CHECKED:
        _check_never(keys, labels, split, never)
    student = _means(vectors[train], labels[train])
    dev, calibration = (_scored(student, vectors[split == s], labels[split == s], never) for s in (1, 2))
    _count(found, cell, threshold(dev, calibration, cell), _scored(student, *messages(FRESH), never))


def _check_never(keys: list[str], labels: np.ndarray, split: np.ndarray, never: np.ndarray) -> None:
    names = [f"intent {i:03}" for i in range(INTENTS)]
    rows = tuple(Row(k, k, names[y], split=SPLITS[s]) for k, y, s in zip(keys, labels, split, strict=True))
    data = Dataset(rows, Taxonomy.of(names), {}, ())
    assert data.never_accepted == tuple(name for name, one in zip(names, never, strict=True) if one)


def _means(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    counts = np.bincount(labels, minlength=INTENTS)[:, None]
    sums = np.zeros((INTENTS, DIMENSIONS))
    np.add.at(sums, labels, vectors)
    return np.where(counts > 0, sums / (counts + 0.5), np.nan)


def _scored(means: np.ndarray, vectors: np.ndarray, labels: np.ndarray, never: np.ndarray) -> Scores:
    known = np.flatnonzero(~np.isnan(means[:, 0]))
    m = means[known]
    logits = (2 * vectors @ m.T - (m**2).sum(1)) / (2 * NOISE**2 * 4 / DIMENSIONS)
    logits -= logits.max(1, keepdims=True)
    predicted = known[logits.argmax(1)]
    return np.where(never[predicted], -np.inf, 1 / np.exp(logits).sum(1)), predicted == labels


def _count(found: Found, cell: Cell, above: float | None, truth: Scores) -> None:
    found.histories += 1
    found.certified += above is not None
    found.broken += risk(*truth, above) > 1 - cell.target
    found.coverage += 0.0 if above is None else float((truth[0] > above).mean())


def run(cell: Cell, histories: int) -> Found:
    rng = np.random.default_rng([cell.size, int(10 * cell.law), int(100 * cell.target), len(cell.kind)])
    scores, right = drawn_groups(rng, 400_000)
    truth, found = (scores, row_right(rng, right)), Found()
    history: Callable[..., None] = groups_history if cell.kind == "groups" else intents_history
    for number in range(histories):
        history(cell, rng, number, truth, found)
    return found


def results(cells: list[Cell], histories: int, out: Path | None) -> Iterator[tuple[Cell, Found]]:
    """Every cell with what it showed, those that stand in `out` without running them again."""
    kept = Cells(out)
    for cell in cells:
        settings = {**asdict(cell), "histories": histories}
        yield cell, Found(**kept.run(settings, lambda cell=cell: asdict(run(cell, histories))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=400)
    parser.add_argument("--out", type=Path, help="a JSON Lines file of the cells that are done")
    parser.add_argument("--quick", action="store_true", help="three cells alone")
    arguments = parser.parse_args()
    print(
        f"{'kind':<9}{'size':>6}{'Zipf':>6}{'target':>8}{'granted':>9}{'coverage':>10}{'broken':>8}{'rows':>7}{'bar':>7}"
    )
    shown = []
    for cell, found in results(QUICK if arguments.quick else CELLS, arguments.histories, arguments.out):
        n, bar = found.histories, allowed(cell.delta, found.histories)
        by_rows = f"{found.broken_by_rows / n:.3f}" if cell.kind == "groups" else "–"
        figures = (
            f"{found.certified / n:>9.3f}{found.coverage / n:>10.3f}{found.broken / n:>8.3f}{by_rows:>7}{bar:>7.3f}"
        )
        over = "  OVER" if found.broken / n > bar else ""
        print(f"{cell.kind:<9}{cell.size:>6}{cell.law:>6.1f}{cell.target:>8.2f}{figures}{over}", flush=True)
        shown.append((found.broken / n, cell.delta))
    mean, delta = np.mean(shown, 0)
    print(f"\nmean over {len(shown)} cells: broken {mean:.4f}, delta at the target {delta:.4f}")


if __name__ == "__main__":
    main()
