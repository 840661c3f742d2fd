"""Fifty refreshes on repeating traffic: does the gate let small losses add up, and do the looks keep the promise?

    python -m benchmarks.rounds [--histories 200] [--quick]

A history: requests after Zipf's law, of which each round adds a sample, and 50 challengers, each the champion with 2 %
of its answers changed. Every challenger is truly 0.3 points worse than the champion, or as good. The gate
(`training.lifecycle.gate.judge`), the anchor and the looks (`training.lifecycle.window.next_share`) are the project's
own. "under the anchor": a published version that is truly over one point worse than the best version ever published.
"looks": 50 or 365 versions, one a day, certified on a window that moves; a stretch of one window's length is broken if
any certificate in it is.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cells, allowed
from training.evaluation.certificate import certify, thresholds_to_test
from training.lifecycle.anchor import Anchor
from training.lifecycle.gate import Pairs, judge
from training.lifecycle.window import next_share

QUERIES, ZIPF, INTENTS = 5_500, 1.0, 20
CHURN, WORSE = 0.02, 0.003
TARGET, DELTA = 0.95, 0.05
ROUNDS = 50


@dataclass
class Traffic:
    """Popularity and intents of the queries, and a student's scores."""

    popularity: np.ndarray
    intents: np.ndarray
    scores: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> Traffic:
        popularity = 1 / np.arange(1, QUERIES + 1) ** ZIPF
        return cls(popularity / popularity.sum(), rng.integers(0, INTENTS, QUERIES), rng.beta(4, 0.6, QUERIES))

    def requests(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.choice(QUERIES, n, p=self.popularity)

    def accuracy(self, right: np.ndarray) -> float:
        return float(self.popularity @ right)


def first_version(traffic: Traffic, rng: np.random.Generator) -> np.ndarray:
    return rng.random(QUERIES) < 0.55 + 0.445 * traffic.scores


def changed(traffic: Traffic, right: np.ndarray, worse: float, rng: np.random.Generator) -> np.ndarray:
    """The next student: answers that were right are lost, and wrong ones won, with the shares of traffic that make it
    `worse` in truth at a churn of 2 %.
    """
    right = right.copy()
    for lose, share in ((True, (CHURN + worse) / 2), (False, (CHURN - worse) / 2)):
        candidates = rng.permutation(np.flatnonzero(right == lose))
        mass, taken = 0.0, []
        for query in candidates.tolist():
            if mass + traffic.popularity[query] <= share:
                mass += float(traffic.popularity[query])
                taken.append(query)
            if mass > share * 0.98:
                break
        right[taken] = not lose
    return right


def history(worse: float, kept: int, seed: int) -> dict[str, float]:
    """One history: the share of rounds that published, and whether a version far under the anchor was published."""
    rng = np.random.default_rng([seed, kept])
    traffic = Traffic.drawn(rng)
    champion = anchor_right = first_version(traffic, rng)
    anchor, best = Anchor("v0", "q"), traffic.accuracy(champion)
    sampled = traffic.requests(kept, rng)
    published, under = 0, False
    for number in range(ROUNDS):
        sampled = np.concatenate([sampled, traffic.requests(kept // 30, rng)])[-kept:]
        challenger = changed(traffic, champion, worse, rng)
        pairs = Pairs(traffic.intents[sampled].astype(str), champion[sampled], challenger[sampled])
        verdict = judge(pairs, True, TARGET, anchor=(anchor_right[sampled], anchor.level))
        anchor = Anchor(anchor.version, "q", anchor.tested + 1)
        if not verdict.published:
            continue
        published, champion = published + 1, challenger
        under |= traffic.accuracy(champion) < best - 0.01
        best = max(best, traffic.accuracy(champion))
        if verdict.gained:
            anchor, anchor_right = Anchor(f"v{number}", "q"), champion
    return {"published": published / ROUNDS, "under": float(under), "accuracy": traffic.accuracy(champion) - best}


def looks(count: int, window: int, seed: int) -> tuple[int, int, int]:
    """Stretches of one window's length, how many of them are broken, and how many looks certified something."""
    rng = np.random.default_rng([seed, count, window])
    traffic = Traffic.drawn(rng)
    right, new = first_version(traffic, rng), max(10, window // 30)
    dev, sampled = traffic.requests(500, rng), traffic.requests(window, rng)
    times, past = np.arange(window, dtype=float), []
    broken, certified = [], 0
    for _ in range(count):
        share = next_share(past, times, window, DELTA)
        past.append((times[0], times[-1], share))
        order = thresholds_to_test(traffic.scores[dev], right[dev], TARGET)
        threshold = certify(order, traffic.scores[sampled], right[sampled], TARGET, share).accept_above
        certified += threshold is not None
        weight = traffic.popularity * (traffic.scores > (2.0 if threshold is None else threshold))
        broken.append(bool(weight.sum()) and float(weight @ right) < TARGET * weight.sum())
        right = changed(traffic, right, 0.0, rng)
        sampled = np.concatenate([sampled, traffic.requests(new, rng)])[-window:]
        times = np.arange(times[0] + new, times[0] + new + window)
    length = min(count, window // new)
    stretches = [any(broken[i : i + length]) for i in range(0, count - length + 1, length)]
    return len(stretches), sum(stretches), certified


def gate_cell(worse: float, kept: int, histories: int) -> dict[str, Any]:
    found = [history(worse, kept, seed) for seed in range(histories)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def looks_cell(count: int, window: int, histories: int) -> dict[str, Any]:
    found = np.array([looks(count, window, seed) for seed in range(histories)]).sum(0)
    return {"stretches": int(found[0]), "broken": float(found[1] / found[0]), "certified": found[2] / histories / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("models/rounds.jsonl"), help="finished cells")
    parser.add_argument("--quick", action="store_true", help="10 histories")
    arguments = parser.parse_args()
    runs, kept = 10 if arguments.quick else arguments.histories, Cells(arguments.out)
    print(f"{'challengers':<22}{'rows':>8}{'published':>11}{'over one point under the anchor':>33}{'end':>8}")
    for worse, rows in ((WORSE, 1_000), (WORSE, 3_000), (0.0, 1_000), (0.0, 3_000)):
        settings = {"worse": worse, "kept": rows, "histories": runs}
        found = kept.run(settings, lambda worse=worse, rows=rows: gate_cell(worse, rows, runs))
        name = f"{100 * worse:.1f} points worse" if worse else "as good"
        end = 100 * found["accuracy"]
        print(f"{name:<22}{rows:>8}{found['published']:>11.1%}{found['under']:>33.1%}{end:>8.2f}", flush=True)
    print(f"\n{'looks':<10}{'window':>8}{'stretches':>11}{'broken':>9}{'allowed':>9}{'certified':>11}")
    for count, window in ((50, 550), (50, 1_650), (365, 550), (365, 1_650)):
        settings = {"looks": count, "window": window, "histories": runs}
        found = kept.run(settings, lambda count=count, window=window: looks_cell(count, window, runs))
        bound = allowed(DELTA, found["stretches"])
        print(
            f"{count:<10}{window:>8}{found['stretches']:>11}{found['broken']:>9.4f}{bound:>9.4f}"
            f"{found['certified']:>11.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
