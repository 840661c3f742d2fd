"""How much a certificate accepts where everything, the rows that judge included, is paid out of the same labels.

    python -m benchmarks.coverage [--data ../shared/data] [--quick]

The labels are GPT-4's on 3,080 BANKING77 messages: 80 % are the labels that were paid for, the others say whether the
promise holds. A student stands in for the real one: 0.6 logistic regression and 0.4 nearest rows on the frozen default
encoder. Splits, trials, thresholds and certificates are the project's own. Each target is the one that the user named.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax

from training.data import dataset, kept
from training.data.dataset import Dataset
from training.data.looks import look_delta
from training.data.rows import Row
from training.data.sizes import Goal
from training.evaluation.certificate import Sample, certify_goal
from training.evaluation.statistics import binomial_p_value
from training.labelling.second_opinion import features

NEIGHBOURS = 15
DELTA = 0.05
SPLITS, SEEDS = 5, 4
BARS = {0.95: 0.58, 0.90: 0.80}  # the coverage that is wanted, by target
GOLD = {
    "banking77": ("train.jsonl", "test.jsonl"),
    "clinc150": ("train.jsonl", "val.jsonl", "test.jsonl", "oos_train.jsonl", "oos_val.jsonl", "oos_test.jsonl"),
}


@dataclass(frozen=True)
class Pool:
    """Labelled texts with their frozen embeddings, one row each."""

    texts: tuple[str, ...]
    labels: np.ndarray
    vectors: np.ndarray


def read(path: Path, label: str) -> list[tuple[str, str]]:
    """The text and the label of every row of a JSON Lines file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [(row["text"], row[label]) for row in rows]


def pool(rows: Sequence[tuple[str, str]]) -> Pool:
    rows = list(dict(rows).items())
    labels = np.array([label for _, label in rows])
    vectors = features([Row(str(i), text, label) for i, (text, label) in enumerate(rows)], "all-MiniLM-L6-v2")
    return Pool(tuple(text for text, _ in rows), labels, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def student(pool: Pool, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score and correctness of all rows of the pool by a student of the rows `train`."""
    from sklearn.linear_model import LogisticRegression

    centred = pool.vectors - pool.vectors[train].mean(0)
    vectors = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    names, y = np.unique(pool.labels[train], return_inverse=True)
    logits = LogisticRegression(C=5.0, max_iter=300).fit(vectors[train], y).decision_function(vectors)
    probabilities = 0.6 * softmax(logits / 0.55, 1) + 0.4 * nearest(vectors, vectors[train], np.eye(len(names))[y])
    return probabilities.max(1), names[probabilities.argmax(1)] == pool.labels


def nearest(vectors: np.ndarray, known: np.ndarray, one_hot: np.ndarray) -> np.ndarray:
    """The labels of the nearest known rows, weighted by similarity: shape (rows, labels)."""
    similarity = vectors @ known.T
    index = np.argpartition(-similarity, NEIGHBOURS, 1)[:, :NEIGHBOURS]
    weights = softmax(np.take_along_axis(similarity, index, 1) / 0.03, 1)
    votes = np.zeros((len(vectors), one_hot.shape[1]))
    for k in range(NEIGHBOURS):
        votes += weights[:, [k]] * one_hot[index[:, k]]
    return votes


def divided(rows: Sequence[Mapping[str, str]], salt: str, goal: Goal) -> Dataset:
    """Rows as the project reads and splits them, by this salt: new data would all be split by one."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        kept.write(home, kept.Kept(salt))
        (home / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return dataset.load(folder, goal=goal)


def load(pool: Pool, chosen: np.ndarray, salt: str, goal: Goal) -> tuple[Dataset, dict[str, int]]:
    """The chosen rows, split, and each text's place in the pool."""
    rows = [{"text": pool.texts[i], "label": str(pool.labels[i])} for i in chosen]
    return divided(rows, salt, goal), {pool.texts[i]: int(i) for i in chosen}


@dataclass(frozen=True)
class Outcome:
    """What one certificate does to the rows that nobody used: how many it accepts, and how many of these are right.

    `best` is the largest share that any threshold could accept there while it keeps the target.
    """

    rows: int
    accepted: int
    right: int
    best: float


def outcomes(pool: Pool, rows: int, target: float, splits: int, seeds: int) -> Iterator[Outcome]:
    """One outcome for each split and seed, out of `rows` labels."""
    goal = Goal(target, look_delta(DELTA, 1))
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(pool.texts))
        for split in range(splits):
            data, place = load(pool, order[:rows], f"split{split}", goal)
            train = np.array([place[row.text] for row in data.split("train")])
            scores, correct = student(pool, train)
            parts = [np.array([place[row.text] for row in data.trials(name)], int) for name in ("dev", "calibration")]
            threshold = certified([(scores[part], correct[part]) for part in parts], goal)
            yield outcome(scores[order[rows:]], correct[order[rows:]], threshold, target)


def certified(parts: Sequence[Sample], goal: Goal) -> float:
    """The threshold that dev and calibration certify; inf for none."""
    found = certify_goal(*parts, goal).accept_above
    return float("inf") if found is None else found


def outcome(scores: np.ndarray, correct: np.ndarray, threshold: float, target: float) -> Outcome:
    accepted = scores > threshold
    risk = np.cumsum(~correct[np.argsort(-scores)]) / np.arange(1, len(scores) + 1)
    kept = np.flatnonzero(risk <= 1 - target)
    best = (kept[-1] + 1) / len(scores) if len(kept) else 0.0
    return Outcome(len(scores), int(accepted.sum()), int(correct[accepted].sum()), float(best))


def report(name: str, rows: int, target: float, found: Sequence[Outcome], bar: float | None) -> None:
    coverage = float(np.mean([one.accepted / one.rows for one in found]))
    none = sum(not one.accepted for one in found)
    broken = sum(under(one, target) for one in found)
    agreement = sum(one.right for one in found) / max(sum(one.accepted for one in found), 1)
    best = np.mean([one.best for one in found])
    verdict = "" if bar is None else "  met" if coverage >= bar and none <= len(found) / 20 else "  MISSED"
    print(
        f"{name:<22}{rows:>7}{target:>8.2f}{coverage:>10.3f}{best:>8.3f}{none:>7}/{len(found):<4}{agreement:>10.4f}"
        f"{broken:>7}{verdict}",
        flush=True,
    )


def under(one: Outcome, target: float) -> bool:
    """Whether agreement is significantly under the target: an exact test at 5 %."""
    return float(binomial_p_value(one.right, one.accepted, target)) < 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help="the first table alone, two splits of two seeds")
    arguments = parser.parse_args()
    splits, seeds = (2, 2) if arguments.quick else (SPLITS, SEEDS)
    header = f"{'labels':<22}{'rows':>7}{'target':>8}{'coverage':>10}{'best':>8}{'none':>8}{'':>4}{'agreement':>10}"
    print(f"{header}{'under':>7}")
    labelled = pool(read(arguments.data / "banking77-gpt4" / "stream.jsonl", "gpt4"))
    for target, bar in BARS.items():
        found = list(outcomes(labelled, 4 * (len(labelled.texts) + 1) // 5, target, splits, seeds))
        report("GPT-4, BANKING77", 4 * (len(labelled.texts) + 1) // 5, target, found, bar)
    if arguments.quick:
        return
    for rows in (500, 1000):
        for target in BARS:
            report("GPT-4, BANKING77", rows, target, list(outcomes(labelled, rows, target, splits, seeds)), None)
    for name, files in GOLD.items():
        rows = [row for file in files for row in read(arguments.data / name / file, "label")]
        gold = pool(rows)
        for size in (2464, 10_000):
            for target in BARS:
                report(f"gold, {name}", size, target, list(outcomes(gold, size, target, 2, 2)), None)


if __name__ == "__main__":
    main()
