"""Train on real recorded LLM labels, with their real mistakes, and look at gold.

    python -m benchmarks.teacher_labels --data DIR/banking77-gpt4 [--epochs 12] [--seeds 0 1 2]

The labels are GPT-4's on 1,001 BANKING77 training queries, with the benchmark's 231 seed examples, three per intent,
published by stoyian/OCaTS; the test set is BANKING77's. Off: the labels as they are. On: rows that confident learning
doubts get a second opinion; no second answer of the model was recorded for these rows, so a person's (the benchmark's
gold) stands in for it. Beside the student: logistic regression on the frozen base encoder, on the same rows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.data.rows import Row
from training.labelling.second_opinion import doubtful, features
from training.student import fit
from training.student import model as student
from training.student.config import Config
from training.student.export import torch_probabilities


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def training_rows(folder: Path) -> list[Row]:
    labelled = [
        Row(id=f"dev{i}", text=row["text"], label=row["gpt4"], gold=row["gold"], labeler="gpt4")
        for i, row in enumerate(read(folder / "dev.jsonl"))
    ]
    seeds = [
        Row(id=f"warm{i}", text=row["text"], label=row["gold"], gold=row["gold"], labeler="human")
        for i, row in enumerate(read(folder / "warm.jsonl"))
    ]
    return labelled + seeds


def settled(rows: Sequence[Row]) -> list[Row]:
    """The rows after a second look at those that confident learning doubts."""
    doubted = {row.id for row in doubtful(rows) if row.labeler != "human"}
    wrong = {row.id for row in rows if row.label != row.gold}
    print(f"{len(doubted)} rows doubted, {len(doubted & wrong)} of them wrong; {len(wrong)} wrong in all")
    return [replace(row, label=str(row.gold), labeler="human") if row.id in doubted else row for row in rows]


def of_the_student(rows: Sequence[Row], texts: Sequence[str], config: Config) -> np.ndarray:
    labels = sorted({row.label for row in rows})
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        base = student.resolve_base(config.base)
        trained, tokenizer, _ = fit.train(rows, labels, base, config, Path(folder) / "checkpoints")
    return np.array(labels)[torch_probabilities(trained, tokenizer, texts).argmax(1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/banking77-gpt4"))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    test = read(arguments.data / "stream.jsonl")
    texts = [row["text"] for row in test]
    gold, teacher = (np.array([row[name] for row in test]) for name in ("gold", "gpt4"))
    print(f"{len(test)} test queries, of which the teacher itself gets {np.mean(teacher == gold):.1%} right")
    first = training_rows(arguments.data)
    second = settled(first)
    encoded = features(first, Config().base)
    unseen = features([Row(id=str(i), text=text, label="") for i, text in enumerate(texts)], Config().base)
    print(f"{'second opinion':<16}{'model':<34}{'gold':>8}{'teacher':>10}")
    for name, rows in (("off", first), ("on", second)):
        plain = LogisticRegression(max_iter=2000).fit(encoded, [row.label for row in rows]).predict(unseen)
        show(name, "logistic regression, frozen encoder", [plain], gold, teacher)
        found = [of_the_student(rows, texts, Config(epochs=arguments.epochs, seed=seed)) for seed in arguments.seeds]
        show(name, f"student, {len(found)} seeds", found, gold, teacher)


def show(name: str, model: str, found: Sequence[np.ndarray], gold: np.ndarray, teacher: np.ndarray) -> None:
    right = np.mean([np.mean(answers == gold) for answers in found])
    agreeing = np.mean([np.mean(answers == teacher) for answers in found])
    print(f"{name:<16}{model:<34}{right:>8.1%}{agreeing:>10.1%}", flush=True)


if __name__ == "__main__":
    main()
