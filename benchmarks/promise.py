"""Does the live certificate keep its promise on real traffic? Simulated through the project's own functions.

    python -m benchmarks.promise [--histories 200] [--logged 5] [--quick]

A history: queries with a popularity after Zipf's law, of which some always, never or sometimes get from the teacher the
intent that the student gives; requests drawn from them, sampled, split, selected (`training.lifecycle.window`), then
certified. The promise is broken if, over all traffic, the teacher asked anew would agree with less than the target of
what is accepted. A few histories of every cell go through a real decision log and `harvest` as well, and must select
the same requests. Finished cells are kept in the file `--out`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cells, allowed
from benchmarks.plots import bars
from inference.log.database import Store
from inference.log.decision_log import Decision, DecisionLog, TeacherAnswer
from training.evaluation.certificate import certify, delta_shares, thresholds_to_test
from training.lifecycle.harvest import harvest
from training.lifecycle.live import split_of
from training.lifecycle.window import Requests, next_share, sample, select

TARGET, DELTA = 0.95, 0.05
WINDOW, LEAST = 20_000, 300
HOUR_S, DAYS = 3600.0, 30
NOISY = 0.25  # share of the queries on which the noisy teacher agrees with itself in 80 % of cases
REFUSED = 0.01  # share of the queries that the teacher refuses to answer
SCENARIOS = ("plain", "noisy teacher", "two rates", "refusals and outages", "two labelers")


@dataclass(frozen=True)
class Cell:
    """What a history is drawn from. `correlated`: the student errs more on frequent queries."""

    queries: int = 5500
    zipf: float = 1.0
    sampled: int = 3000
    correlated: bool = False
    scenario: str = "plain"


@dataclass(frozen=True)
class World:
    """Queries: popularity, the student's score, and how often the teacher agrees, by who is asked (two of them).

    A refused query is agreed with never: refusals count as errors where they are accepted.
    """

    popularity: np.ndarray
    scores: np.ndarray
    agrees: np.ndarray
    refused: np.ndarray

    def truth(self, threshold: float, teacher: int) -> float:
        """The agreement over all traffic above a threshold; 1 where nothing is accepted."""
        weight = self.popularity * (self.scores > threshold)
        return float((weight * self.agrees[teacher]).sum() / weight.sum()) if weight.sum() else 1.0


@dataclass(frozen=True)
class Stream:
    """Sampled requests of a history: which query, and whether the teacher's own answer agreed with the student's."""

    requests: Requests
    query: np.ndarray
    agreed: np.ndarray


def draw_world(cell: Cell, rng: np.random.Generator) -> World:
    popularity = 1 / np.arange(1, cell.queries + 1) ** cell.zipf
    popularity /= popularity.sum()
    scores = rng.beta(4, 0.6, cell.queries)
    right = rng.random(cell.queries) < 0.3 + 0.695 * scores**2
    if cell.correlated:  # the queries that are got wrong move to the head, without a change of the scores' order
        wrong = np.argsort(right + rng.normal(0, 3.0, cell.queries), kind="stable")
        scores, right = scores[wrong], right[wrong]
    agrees = np.where(right, 1.0, 0.0)
    if cell.scenario == "noisy teacher":
        noisy = rng.random(cell.queries) < NOISY
        agrees = np.where(noisy, np.where(right, 0.8, 0.15), agrees)
    refused = (rng.random(cell.queries) < REFUSED) & (cell.scenario == "refusals and outages")
    agrees = np.where(refused, 0.0, agrees)
    other = np.where(rng.random(cell.queries) < 0.08, 1 - agrees, agrees)  # the second labeler
    return World(popularity / popularity.sum(), scores, np.stack([agrees, other]), refused)


def draw_stream(cell: Cell, world: World, rng: np.random.Generator) -> Stream:
    """`sampled` requests over thirty days. At two rates the first days are a day zero that samples 45 times as many."""
    n = cell.sampled
    times = np.sort(rng.uniform(0, DAYS * 24 * HOUR_S, n))
    rates = np.full(n, 0.01)
    if cell.scenario == "two rates":
        rates[: n // 2] = 0.45
    query = rng.choice(cell.queries, n, p=world.popularity)
    teacher = (times > DAYS * 8 * HOUR_S).astype(int) if cell.scenario == "two labelers" else np.zeros(n, int)
    agreed = rng.random(n) < world.agrees[teacher, query]
    answered = np.ones(n, bool)
    if cell.scenario == "refusals and outages":
        # In every tenth hour the teacher fails, on queries that the student gets wrong three times as often.
        down = np.isin(times // HOUR_S, rng.choice(DAYS * 24, DAYS * 24 // 10, replace=False))
        answered = ~(down & (rng.random(n) < np.where(agreed, 0.3, 0.9)))
    numbers = rng.random(n) * rates
    reference = np.where(answered, teacher, 2)
    return Stream(
        Requests(times, rates, numbers, answered, reference, split_of(numbers) == "calibration"), query, agreed
    )


def certified(world: World, stream: Stream, judges: np.ndarray) -> tuple[float | None, float]:
    """The threshold at the target, and the delta that was spent on it: a first look at the live sample."""
    split = split_of(stream.requests.numbers)
    dev, calibration = ((judges & (split == name)) for name in ("dev", "calibration"))
    look = next_share([], stream.requests.times[calibration], WINDOW, DELTA) if calibration.any() else 0.0
    delta = delta_shares(look, TARGET)[TARGET]
    scores = world.scores[stream.query]
    order = thresholds_to_test(scores[dev], stream.agreed[dev], TARGET)
    return certify(order, scores[calibration], stream.agreed[calibration], TARGET, delta).accept_above, delta


def through_the_log(stream: Stream, world: World, folder: Path) -> set[str]:
    """The requests that judge, by their ids, as `harvest` and `sample` find them in a real log."""
    requests, rows = stream.requests, []
    for i, query in enumerate(stream.query.tolist()):
        time, text = float(requests.times[i]), f"query {query}"
        guess = (text, "guess", 0.9, True, "student", False, False, True, "bundle", 1.0, None)
        epoch = f"serving {requests.rates[i]:g}"
        drawn = (None, float(requests.numbers[i]), float(requests.rates[i]), epoch, "prompt", "question")
        rows.append(Decision(f"r{i}", time, *guess, *drawn))
        if requests.answered[i]:
            label = None if world.refused[query] else "agreed" if stream.agreed[i] else "another"
            said = (label, "refused" if label is None else None, {}, 0.0, 1.0, True, "question")
            rows.append(TeacherAnswer(f"r{i}", time, text, f"teacher {requests.reference[i]}", "prompt", *said))
    store = Store(folder / "log.db")
    store.write(rows)
    store.close()
    found = harvest(DecisionLog(folder / "log.db"), [], 0.0, math.inf, 1, "question", "salt")
    return {row.request for row in sample(found.rows, "question", (), WINDOW, LEAST).rows}


def run_cell(cell: Cell, histories: int, logged: int) -> dict[str, Any]:
    """How often the promise is broken, and how often something is certified."""
    broken = granted = 0
    deltas = []
    for number in range(histories):
        rng = np.random.default_rng([number, cell.queries, cell.sampled])
        world = draw_world(cell, rng)
        stream = draw_stream(cell, world, rng)
        judges = select(stream.requests, WINDOW, LEAST)["window"]
        if number < logged:
            with tempfile.TemporaryDirectory() as folder:
                found = through_the_log(stream, world, Path(folder))
            assert found == {f"r{i}" for i in np.flatnonzero(judges)}, "the log and harvest select other requests"
        threshold, delta = certified(world, stream, judges)
        deltas.append(delta)
        granted += threshold is not None
        teacher = 1 if cell.scenario == "two labelers" else 0
        broken += threshold is not None and world.truth(threshold, teacher) < TARGET
    return {"broken": broken / histories, "granted": granted / histories, "delta": float(np.mean(deltas))}


def cells(quick: bool) -> list[Cell]:
    """All cells: popularity × size of the traffic × size of the sample × errors that follow the popularity or not."""
    grid = itertools.product((5_500, 50_000), (0.6, 0.8, 1.0, 1.2), (3_000, 20_000), (False, True))
    found = [Cell(*settings) for settings in grid]
    found += [Cell(zipf=1.0, sampled=n, scenario=name) for name in SCENARIOS[1:] for n in (3_000, 20_000)]
    return found[::9] if quick else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--logged", type=int, default=5, help="histories of a cell that go through log and harvest too")
    parser.add_argument("--out", type=Path, default=Path("models/promise.jsonl"), help="finished cells")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the cells as an SVG file")
    parser.add_argument("--quick", action="store_true", help="a few cells, 20 histories each")
    arguments = parser.parse_args()
    histories, logged = (20, 1) if arguments.quick else (arguments.histories, arguments.logged)
    kept, found = Cells(arguments.out), []
    print(
        f"{'scenario':<22}{'queries':>8}{'zipf':>6}{'sample':>8}{'errors':>12}{'broken':>8}{'allowed':>9}{'granted':>9}"
    )
    for cell in cells(arguments.quick):
        settings = {**dataclasses.asdict(cell), "histories": histories, "logged": logged}
        figures = kept.run(settings, lambda cell=cell: run_cell(cell, histories, logged))
        found.append(figures)
        where = "at the head" if cell.correlated else "anywhere"
        bound = allowed(figures["delta"], histories)
        print(
            f"{cell.scenario:<22}{cell.queries:>8}{cell.zipf:>6}{cell.sampled:>8}{where:>12}{figures['broken']:>8.3f}"
            f"{bound:>9.3f}{figures['granted']:>9.3f}{'  BROKEN' if figures['broken'] > bound else ''}",
            flush=True,
        )
    mean, delta = (float(np.mean([figures[name] for figures in found])) for name in ("broken", "delta"))
    print(f"\nmean of all cells: broken {mean:.4f}, delta {delta:.4f}")
    if arguments.plot:
        shares: dict[str, list[float]] = {}
        for cell, figures in zip(cells(arguments.quick), found, strict=True):
            shares.setdefault(cell.scenario, []).append(figures["broken"])
        title = f"A promise of {TARGET:.0%} on live traffic: {len(found)} kinds of it, {histories} histories each"
        bars(arguments.plot, title, "histories in which it was broken", shares, delta)


if __name__ == "__main__":
    main()
