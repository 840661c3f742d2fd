"""Students of labels that are wrong, or few: how much can be accepted at a realised agreement, beside simple models.

    python -m benchmarks.noisy_labels [--data ../shared/data] [--out FILE] [--quick]

GPT-4's labels on 3,080 BANKING77 messages: 80 % are paid for, and the rows that tune and calibrate come out of these.
CLINC150 with a fifth of the training labels flipped at random, test as it is. BANKING77 with few rows an intent. Each
student is trained and shipped by the project; logistic regression and nearest rows (their mean weighted 0.6 and 0.4)
stand on the frozen base encoder and the same training rows. With --out a stopped run goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from benchmarks.cells import Cells
from inference.classifier import Classifier
from training.data import dataset
from training.data.rows import PREFIX, Row
from training.evaluation.scored import score
from training.evaluation.statistics import selective_risk
from training.labelling.second_opinion import features
from training.lifecycle.pipeline import train
from training.student.config import Config

AGREEMENTS = (0.95, 0.97, 0.98)
NEIGHBOURS, SHARPNESS = 15, 20.0
SPLITS, QUICK_SPLITS = 5, 2
FEW = (8, 16, 32)
Table = dict[str, list[dict[str, Any]]]  # rows by file stem


def read(path: Path, **fixed: Any) -> list[dict[str, Any]]:
    return [json.loads(line) | fixed for line in path.read_text(encoding="utf-8").split("\n") if line]


def teacher_labels(data: Path, seed: int) -> Table:
    rows = [
        {"text": row["text"], "label": row["gpt4"], PREFIX + "gold": row["gold"], PREFIX + "labeler": "gpt4"}
        for row in read(data / "banking77-gpt4" / "stream.jsonl")
    ]
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = round(0.8 * len(rows))
    return {"train": [rows[i] for i in order[:cut]], "test": [rows[i] for i in order[cut:]]}


def flipped_labels(data: Path, seed: int) -> Table:
    folder, rng = data / "clinc150", np.random.default_rng(seed)
    rows = {stem: read(folder / f"{stem}.jsonl") for stem in ("train", "val", "test")}
    names = sorted({row["label"] for row in rows["train"]})
    for row in rows["train"]:
        if rng.random() < 0.2:
            row["label"] = names[rng.integers(len(names))]
    return rows


def few_rows(data: Path, seed: int, count: int) -> Table:
    rng, seen = np.random.default_rng(seed), dict[str, int]()
    rows, few = read(data / "banking77" / "train.jsonl"), []
    for i in rng.permutation(len(rows)).tolist():
        label = rows[i]["label"]
        seen[label] = seen.get(label, 0) + 1
        if seen[label] <= count:
            few.append(rows[i])
    return {"train": few, "test": read(data / "banking77" / "test.jsonl")}


def figures(probabilities: np.ndarray, labels: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
    """Accuracy against labels and gold, and the share that can be accepted at each agreement with the labels."""
    said = np.array(labels)[probabilities.argmax(1)]
    correct = said == np.array([row.label for row in rows])
    risk = selective_risk(probabilities.max(1), correct)
    kept = {target: np.flatnonzero(risk <= 1 - target) for target in AGREEMENTS}
    return {
        "agrees": float(correct.mean()),
        "gold": float(np.mean(said == np.array([row.gold or row.label for row in rows]))),
        **{f"{target:.2f}": float((i[-1] + 1) / len(rows)) if len(i) else 0.0 for target, i in kept.items()},
        "area": float(risk.mean()),
    }


def measured(table: Table, seed: int) -> dict[str, Any]:
    """The figures of the shipped file and of the simple models, on test; what was kept; minutes of training."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        home = Path(folder) / f"noisy{seed}"
        home.mkdir()
        for stem, rows in table.items():
            (home / f"{stem}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        version = train(Config(data=str(home), models=f"{folder}/models", seed=seed)).folder
        report = json.loads((version / "report.json").read_text(encoding="utf-8"))
        data, classifier = dataset.load(str(home)), Classifier.load(version)
        shipped = score(classifier, data.split("test"))
        simple = simple_models(data.split("train"), data.split("test"), classifier.labels)
    models = {**simple, "shipped": shipped.probabilities}
    return {
        "models": {name: figures(said, classifier.labels, shipped.rows) for name, said in models.items()},
        "kept": next(one for one in report["tried"] if one["kept"]),
        "certified": {str(one["target"]): one["test_coverage"] for one in report["certificates"]},
        "minutes": report["seconds"]["student"] / 60,
    }


def simple_models(rows: Sequence[Row], test: Sequence[Row], labels: Sequence[str]) -> Mapping[str, np.ndarray]:
    base, place = Config().base, {label: i for i, label in enumerate(labels)}
    known, new = (features(some, base) / 16 for some in (rows, test))
    wanted = np.array([place[row.label] for row in rows])
    model = LogisticRegression(C=30.0, max_iter=300).fit(known, wanted)
    linear, votes = np.zeros((2, len(test), len(labels)))
    linear[:, model.classes_] = model.predict_proba(new)
    similarity = new @ known.T
    index = np.argsort(-similarity, 1)[:, :NEIGHBOURS]
    weights = softmax(SHARPNESS * np.take_along_axis(similarity, index, 1), 1)
    for k in range(index.shape[1]):
        votes[np.arange(len(test)), wanted[index[:, k]]] += weights[:, k]
    return {"logistic regression": linear, "and nearest rows": 0.6 * linear + 0.4 * votes}


def cells(data: Path, splits: int, quick: bool) -> Iterator[tuple[str, int, Callable[[], Table]]]:
    """Name, seed and the rows of everything that is measured."""
    for seed in range(splits):
        yield "GPT-4, BANKING77", seed, lambda seed=seed: teacher_labels(data, seed)
    if quick:
        return
    for seed in range(splits):
        for count in FEW:
            yield f"{count} rows, BANKING77", seed, lambda seed=seed, count=count: few_rows(data, seed, count)
        yield "20 % flipped, CLINC150", seed, lambda seed=seed: flipped_labels(data, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="a file that keeps finished cells")
    parser.add_argument("--quick", action="store_true", help=f"GPT-4's labels alone, {QUICK_SPLITS} splits")
    arguments = parser.parse_args()
    done, found = Cells(arguments.out), dict[str, list[dict[str, Any]]]()
    for name, seed, rows in cells(arguments.data, QUICK_SPLITS if arguments.quick else SPLITS, arguments.quick):
        figured = done.run({"data": name, "seed": seed}, lambda rows=rows, seed=seed: measured(rows(), seed))
        kept = figured["kept"]
        print(f"{name} {seed}: {figured['minutes']:.1f} minutes, {kept['tuned']:.0%} fine-tuned", flush=True)
        for model, row in figured["models"].items():
            found.setdefault(f"{name:<24}{model:<22}", []).append(row)
            show(f"{name:<24}{model:<22}", [row])
    print("\nmean and standard deviation")
    for name, rows_of in found.items():
        show(name, rows_of)


def show(name: str, rows: Sequence[Mapping[str, float]]) -> None:
    values = {column: [row[column] for row in rows] for column in rows[0]}
    spread = "".join(f" {np.std(column):.3f}" for column in values.values()) if len(rows) > 1 else ""
    print(name + "".join(f" {column} {np.mean(value):.4f}" for column, value in values.items()) + spread, flush=True)


if __name__ == "__main__":
    main()
