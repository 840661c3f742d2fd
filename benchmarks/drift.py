"""Does the report's word for drift cry wolf, and does it name a real shift? Simulated traffic, with Zipf and cache.

    python -m benchmarks.drift [--reports 200] [--quick]

Texts with a popularity after Zipf's law, and intents of any size. A bundle is calibrated on sampled requests, or on
distinct texts; the traffic afterwards is of the same kind, or a tenth of it has moved to one intent. One or four
processes count it, each a distinct text once (`inference.serving.own`). Beside the verdict: that of the population
stability index by custom (0.1). Finished cells are kept in the file `--out`, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cells import Cells
from inference.log.drift import ALPHA, SHIFTED, moved, stability_index

TEXTS, MOVED, BY_CUSTOM = 5500, 0.1, 0.1


class Cell(NamedTuple):
    """One kind of traffic, and the sample that a bundle was calibrated on."""

    intents: int
    unit: str
    calibrating: int
    requests: int
    processes: int


def mix(cell: Cell, intents: np.ndarray, popularity: np.ndarray, rng: np.random.Generator) -> dict[int, int]:
    """What is counted of the traffic: requests by intent, or distinct texts of each process."""
    asked = rng.choice(TEXTS, cell.requests, p=popularity)
    if cell.unit == "texts":
        asked = np.concatenate([np.unique(part) for part in np.array_split(asked, cell.processes)])
    return dict(enumerate(np.bincount(intents[asked], minlength=cell.intents).tolist()))


def report(cell: Cell, rng: np.random.Generator) -> dict[str, bool]:
    """The verdicts of one bundle's reports: on traffic of its own kind, and on traffic that has moved."""
    intents = rng.choice(cell.intents, TEXTS, p=rng.dirichlet(np.full(cell.intents, 3.0)))
    popularity = rng.permutation(1 / np.arange(1, TEXTS + 1))
    popularity /= popularity.sum()
    every = cell.unit == "requests"
    of = rng.choice(TEXTS, cell.calibrating, replace=every, p=popularity if every else None)
    reference = dict(enumerate(np.bincount(intents[of], minlength=cell.intents).tolist()))
    gone = np.where(rng.random(TEXTS) < MOVED / (1 - np.mean(intents == 0)), 0, intents)
    found = {}
    for name, now in (("same", intents), ("moved", gone)):
        live = mix(cell, now, popularity, rng)
        far, chance = moved(live, reference, cell.processes if cell.unit == "texts" else 1)
        found[name] = chance <= ALPHA and far >= SHIFTED
        found[f"{name}, by custom"] = stability_index(live, reference) >= BY_CUSTOM
    return found


def run(cell: Cell, reports: int) -> dict[str, Any]:
    """The shares of reports that name a shift."""
    found = [report(cell, np.random.default_rng([number, *map(int, cell[2:])])) for number in range(reports)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reports", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("models/drift.jsonl"), help="finished cells")
    parser.add_argument("--quick", action="store_true", help="20 reports each")
    arguments = parser.parse_args()
    reports, kept = 20 if arguments.quick else arguments.reports, Cells(arguments.out)
    print(f"{'intents':>8}{'unit':>10}{'calibrating':>13}{'requests':>10}{'processes':>11}   named: same kind, moved")
    for values in itertools.product((5, 150), ("requests", "texts"), (500, 3000), (1000, 10_000), (1, 4)):
        cell = Cell(*values)
        if cell.unit == "requests" and cell.processes > 1:  # a request is counted once, whoever counts it
            continue
        figures = kept.run({**cell._asdict(), "reports": reports}, lambda cell=cell: run(cell, reports))  # type: ignore[misc]
        shown = [f"{figures[name]:.1%} ({figures[f'{name}, by custom']:.0%} by custom)" for name in ("same", "moved")]
        print(
            f"{cell.intents:>8}{cell.unit:>10}{cell.calibrating:>13,}{cell.requests:>10,}{cell.processes:>11}   "
            f"{', '.join(shown)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
