"""Do intents with targets of their own keep their promises, and how much do they accept?

    python -m benchmarks.intents [--data ../shared/data] [--draws 200] [--out FILE] [--quick]

The pools are data/support and CLINC150 merged to its ten domains (the data is published by clinc/oos-eval): each row is
scored by simple models that were not trained on it, one in place of the student, on words and letters, and a worse one
in place of the exit. Each draw takes dev and calibration rows with replacement, as many as training makes of so many
labels, and certifies by the project's own functions, the exit's thresholds and the pooled certificates included. The
truth is the whole pool: a promise is broken if agreement is under its target there, whichever certificate serves beside
it. "best" is the loosest threshold that keeps the target in the pool, "needs" the calibration rows, those that name
other intents included, on which four fifths of its coverage would just be certified if errors came as often as in the
pool. A promise is judged by coverage where it needs at most half of the rows that there are. Finished cells are kept in
FILE.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cells import Cells
from benchmarks.clinc_domains import DOMAIN_OF
from inference.bundle.bounds import Bounds
from inference.bundle.manifest import Bundle, Certificate, Manifest
from inference.bundle.taxonomy import Intent, Taxonomy
from training.data.looks import look_delta
from training.data.sizes import Goal, shares
from training.evaluation.certificate import Sample
from training.evaluation.certified import Serve, certified, strictest, with_exits
from training.evaluation.exits import EarlyAnswers
from training.evaluation.scored import Served
from training.evaluation.statistics import binomial_p_value

FOLDS, FEATURES = 3, 2**18
POOLED = 0.95
DELTA = look_delta(0.05, 1)
LEAST = 0.80  # of the best threshold's coverage, where half of the rows are enough
MOST_ROWS = 10**6


@dataclass(frozen=True)
class Answers:
    """What one model says of rows: places of intents, and confidences."""

    said: np.ndarray
    confidence: np.ndarray


@dataclass(frozen=True)
class Pool:
    """Rows with their labels, as places in `names`, and what the two models say."""

    names: tuple[str, ...]
    labels: np.ndarray
    student: Answers
    exit: Answers

    def of(self, rows: np.ndarray) -> Pool:
        parts = (Answers(one.said[rows], one.confidence[rows]) for one in (self.student, self.exit))
        return Pool(self.names, self.labels[rows], *parts)

    def early(self) -> EarlyAnswers:
        intents = tuple(self.names[i] for i in self.exit.said)
        return EarlyAnswers(self.exit.confidence, self.exit.said == self.labels, intents)

    def serving(self, taxonomy: Taxonomy) -> Serve:
        """What `Classifier` would answer: the exit where it is sure, else the student."""

        def serve(manifest: Manifest, target: float) -> Served:
            certificate = next((one for one in manifest.certificates if one.target == target), None)
            bounds = Bounds.of(Bundle(Path(), manifest, taxonomy, b"", b""), certificate)
            exits = np.array(bounds.exit or [math.inf] * len(self.names))
            early = self.exit.confidence > exits[self.exit.said]
            said = np.where(early, self.exit.said, self.student.said)
            barred = np.array([name in bounds.barred for name in self.names])
            sure = self.student.confidence > np.array(bounds.accept)[self.student.said]
            accepted = np.where(early, ~barred[said], sure)
            scores = np.where(early, np.inf, self.student.confidence)
            return Served(scores, accepted, said == self.labels, early, tuple(self.names[i] for i in said))

        return serve


def read_support() -> tuple[list[str], list[str]]:
    rows = map(json.loads, Path("data/support/queries.jsonl").read_text(encoding="utf-8").splitlines())
    return tuple(map(list, zip(*((row["text"], row["label"]) for row in rows), strict=True)))  # type: ignore[return-value]


def read_domains(data: Path) -> tuple[list[str], list[str]]:
    texts, labels = [], []
    for name in ("train", "val", "test"):
        for line in (data / "clinc150" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            texts.append(row["text"])
            labels.append(DOMAIN_OF[row["label"]])
    return texts, labels


def scored(texts: list[str], labels: list[str]) -> Pool:
    """Every row as models of the other folds answer it."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    words = HashingVectorizer(n_features=FEATURES, alternate_sign=False, ngram_range=(1, 2)).transform(texts)
    letters = HashingVectorizer(n_features=FEATURES, alternate_sign=False, analyzer="char_wb", ngram_range=(2, 5))
    names, y = np.unique(labels, return_inverse=True)
    folds = np.random.default_rng(0).integers(0, FOLDS, len(texts))
    kinds = hstack([words, letters.transform(texts)]).tocsr(), words
    student, early = (_across(TfidfTransformer(sublinear_tf=True).fit_transform(one), y, folds) for one in kinds)
    return Pool(tuple(map(str, names)), y, student, early)


def _across(vectors: Any, y: np.ndarray, folds: np.ndarray) -> Answers:
    from sklearn.linear_model import SGDClassifier

    said, confidence = np.zeros(len(y), int), np.zeros(len(y))
    for fold in range(FOLDS):
        held = folds == fold
        model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=20, tol=1e-3, random_state=0)
        shares = model.fit(vectors[~held], y[~held]).predict_proba(vectors[held])
        said[held], confidence[held] = shares.argmax(1), shares.max(1)
    return Answers(said, confidence)


@dataclass(frozen=True)
class Cell:
    """Draws from one pool, of so many labels, with these targets."""

    pool: str
    labels: int
    targets: Mapping[str, float]

    def taxonomy(self, pool: Pool) -> Taxonomy:
        return Taxonomy(tuple(Intent(name, target=self.targets.get(name)) for name in pool.names))

    @property
    def sizes(self) -> tuple[int, int]:
        """Dev and calibration rows."""
        _, dev, calibration, _ = shares(self.labels, Goal(POOLED, DELTA))
        return round(dev * self.labels), round(calibration * self.labels)


SUPPORT = {"payments": 0.99, "account": 0.97, "general": 0.90}
CLINC = {"banking": 0.99, "travel": 0.97, "small talk": 0.90}
CELLS = [
    Cell("support", 13_332, SUPPORT),
    Cell("support", 4_000, SUPPORT),
    *(Cell("support", 13_332, {"payments": target}) for target in (0.90, 0.97, 0.99)),
    Cell("CLINC150", 22_500, CLINC),
    Cell("CLINC150", 6_000, CLINC),
    Cell("CLINC150", 22_500, dict.fromkeys(sorted(set(DOMAIN_OF.values())), 0.97)),
]
QUICK = [CELLS[0], CELLS[6]]


def certify_draw(pool: Pool, cell: Cell, rng: np.random.Generator) -> Manifest:
    """The certificates of one draw of dev and calibration rows."""
    taxonomy = cell.taxonomy(pool)
    dev, calibration = (pool.of(rng.integers(0, len(pool.labels), size)) for size in cell.sizes)
    manifest = strictest(Manifest(pool.names, 64, target=POOLED), taxonomy, DELTA)
    parts = dev.serving(taxonomy), calibration.serving(taxonomy)
    return certified(with_exits(manifest, dev.early(), parts[0]), *parts)


def promises(manifest: Manifest) -> list[Certificate]:
    """The intents' own certificates, and the pooled one at the user's target."""
    return [*manifest.intents, next(one for one in manifest.certificates if one.target == POOLED)]


def outcome(pool: Pool, cell: Cell, manifest: Manifest) -> dict[str, list[float]]:
    """Of each promise: whether it is broken, and the shares of the pool that it and the best threshold accept.

    Last comes whether any promise is broken, those at the other targets included.
    """
    serve, own = pool.serving(cell.taxonomy(pool)), [one.intent for one in manifest.intents]
    ways = {one.target: serve(manifest, one.target) for one in manifest.certificates}
    ways[1.0] = serve(replace(manifest, certificates=()), POOLED)
    intents = [_worst([way.naming([name]) for way in ways.values()]) for name in own]
    pooled = [_worst([ways[one.target].beside(own)]) < one.target for one in manifest.certificates]
    broken = [worst < one.target for worst, one in zip(intents, manifest.intents, strict=True)]
    mine = [ways[POOLED].naming([name]) for name in own] + [ways[POOLED].beside(own)]
    kept = [_best((way.scores, way.correct), one) for way, one in zip(mine, promises(manifest), strict=True)]
    named = next(i for i, one in enumerate(manifest.certificates) if one.target == POOLED)
    return {
        "broken": [*map(float, broken), float(pooled[named])],
        "coverage": [way.coverage for way in mine],
        "best": [best for best, _ in kept],
        "needs": [needs for _, needs in kept],
        "any": [float(any(broken) or any(pooled))],
    }


def _worst(ways: list[Served]) -> float:
    """The lowest agreement; 1 where nothing is accepted."""
    found = [way.agreement for way in ways]
    return min(1.0 if one is None else one for one in found)


def _best(sample: Sample, promise: Certificate) -> tuple[float, float]:
    """The largest share that a threshold could accept while it keeps the target in the pool, and the rows it needs."""
    scores, correct = sample
    order = np.argsort(-scores, kind="stable")
    ranked, errors = scores[order], np.cumsum(~correct[order])
    risk = errors / np.arange(1, len(order) + 1)
    last = np.append(ranked[1:] != ranked[:-1], True) & (ranked > -np.inf)
    kept = np.flatnonzero((risk <= 1 - promise.target) & last)
    if not len(kept):
        return 0.0, math.inf
    best = (int(kept[-1]) + 1) / len(order)
    ties = np.flatnonzero(last & (np.arange(1, len(order) + 1) >= LEAST * best * len(order)))
    return best, needed(float(risk[ties[0]]), promise) / ((int(ties[0]) + 1) / len(order))


def needed(risk: float, promise: Certificate) -> float:
    """The fewest accepted rows on which the test passes where this share of them is wrong."""
    rows = np.unique(np.geomspace(1, MOST_ROWS, 2000).astype(int))
    passes = binomial_p_value(np.round(risk * rows), rows, 1 - promise.target) <= promise.delta
    return float(rows[np.argmax(passes)]) if passes.any() else math.inf


def run(pool: Pool, cell: Cell, draws: int) -> dict[str, Any]:
    """The means of all draws, by promise."""
    rng, found, named = np.random.default_rng(len(cell.targets)), [], []
    for _ in range(draws):
        manifest = certify_draw(pool, cell, rng)
        found.append(outcome(pool, cell, manifest))
        named.append([one.named for one in manifest.intents])
    return {
        "names": [*(one.intent for one in manifest.intents), "pooled"],
        "targets": [one.target for one in promises(manifest)],
        "deltas": [one.delta for one in promises(manifest)],
        "rows": cell.sizes[1],
        "named": [*np.mean(named, 0).tolist(), cell.sizes[1]],
        **{key: np.mean([one[key] for one in found], 0).tolist() for key in found[0]},
        "needs": np.median([one["needs"] for one in found], 0).tolist(),
    }


def lines(found: Mapping[str, Any], draws: int) -> Iterator[tuple[str, bool]]:
    """Each promise in words, and whether it is within its bars."""
    every = [found[key] for key in ("names", "targets", "deltas", "named", "needs", "broken", "coverage", "best")]
    for name, target, delta, named, needs, broken, coverage, best in zip(*every, strict=True):
        enough = needs <= found["rows"] / 2
        share = coverage / best if best else 0.0
        good = broken <= allowed(delta, draws) and (share >= LEAST or not enough)
        text = f"  {name:<20}{target:>7.2f}{named:>8.0f}{needs:>8.0f}{broken:>9.3f}{delta:>8.4f}{coverage:>10.3f}"
        yield f"{text}{best:>8.3f}{share:>8.2f}{'' if enough else '  few rows'}", good
    yield (
        f"  any promise broken: {found['any'][0]:.3f} of draws, {DELTA:.4f} promised",
        (found["any"][0] <= allowed(DELTA, draws)),
    )


def allowed(delta: float, draws: int) -> float:
    """The share of draws that may break a promise: two standard errors above delta."""
    return delta + 2 * math.sqrt(delta * (1 - delta) / draws)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a JSON Lines file of the cells that are done")
    parser.add_argument("--quick", action="store_true", help="two cells alone")
    arguments = parser.parse_args()

    @cache
    def pool(name: str) -> Pool:
        return scored(*(read_support() if name == "support" else read_domains(arguments.data)))

    kept, missed = Cells(arguments.out), 0
    header = ("promise", "target", "named", "needs", "broken", "delta", "coverage", "best", "share")
    print("  {:<20}{:>7}{:>8}{:>8}{:>9}{:>8}{:>10}{:>8}{:>8}".format(*header))
    for cell in QUICK if arguments.quick else CELLS:
        settings = {"pool": cell.pool, "labels": cell.labels, "targets": cell.targets, "draws": arguments.draws}
        found = kept.run(settings, lambda cell=cell: run(pool(cell.pool), cell, arguments.draws))
        print(f"{cell.pool}, {cell.labels} labels")
        for line, good in lines(found, arguments.draws):
            missed += not good
            print(f"{line}{'' if good else '  MISSED'}", flush=True)
    print(f"\n{missed} bars missed")


if __name__ == "__main__":
    main()
