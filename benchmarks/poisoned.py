"""What does a refresh do with a round of labels that are wrong?

    python -m benchmarks.poisoned [--data data/support]

Trains a champion on half of the training rows, then lets three refreshes start from it, each with the other half as
queries that were deferred and answered: by the labels as they are; with 30 % of the answers wrong at random; with all
answers of one intent naming another. Accuracy is on clean rows of the test split that no student and no gate has seen.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from inference.bundle import versions
from inference.classifier import Classifier
from inference.log.decision_log import Decision, DecisionLog, TeacherAnswer
from training.data import dataset
from training.data.dataset import Dataset
from training.data.rows import Row, to_record
from training.evaluation.scored import score
from training.lifecycle.options import Options, Summary
from training.lifecycle.pipeline import train
from training.lifecycle.round import refresh
from training.student.config import Config

WRONG = 0.3
GATE_TEST = 5  # every fifth test row stays with the gate, the others are the clean gold
KINDS = ("clean", "random", "flipped")


def spoiled(rows: Sequence[Row], kind: str, names: Sequence[str]) -> list[str]:
    """The answers to `rows`: their labels, or with `random` 30 % wrong ones, or with `flipped` one intent renamed."""
    rng = random.Random(0)
    first, second = names[:2]
    if kind == "random":
        wrong = set(rng.sample(range(len(rows)), round(WRONG * len(rows))))
        others = {name: [other for other in names if other != name] for name in names}
        return [rng.choice(others[row.label]) if i in wrong else row.label for i, row in enumerate(rows)]
    return [second if kind == "flipped" and row.label == first else row.label for row in rows]


def write(data: Dataset, folder: Path) -> tuple[list[Row], list[Row]]:
    """Write the base data with half of the training rows; return the other half, and the clean rows that judge."""
    train_rows, test = list(data.split("train")), data.split("test")
    random.Random(1).shuffle(train_rows)
    half = len(train_rows) // 2
    files = {"train": train_rows[:half], "dev": data.split("dev"), "calibration": data.split("calibration")}
    files["test"] = test[::GATE_TEST]
    folder.mkdir()
    (folder / "taxonomy.toml").write_text(data.taxonomy.to_toml(), encoding="utf-8")
    for name, rows in files.items():
        lines = [json.dumps(to_record(row)) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    kept = {row.key for row in test[::GATE_TEST]}
    return train_rows[half:], [row for row in test if row.key not in kept]


def log_answers(path: Path, rows: Iterable[tuple[Row, str]], bundle_id: str) -> None:
    """What a cascade would have logged for queries that were deferred and answered."""
    log, now = DecisionLog(path), time.time()
    for i, (row, label) in enumerate(rows):
        log.put(Decision(f"q{i}", now, row.text, label, 0.5, True, "teacher", False, True, False, bundle_id, 1.0))
        log.put(TeacherAnswer(f"q{i}", now, row.text, "python:teacher", "prompt", label, None, {}, 0.0, 1.0, False))
    log.close()


def round_of(kind: str, config: Config, rows: Sequence[Row], names: Sequence[str], champion: Classifier) -> Summary:
    """One refresh from the champion with `rows` answered in the way of `kind`."""
    home = config.home.with_name(kind)
    shutil.copytree(config.home, home)
    log = home / "decisions.db"
    log_answers(log, zip(rows, spoiled(rows, kind, names), strict=True), champion.bundle.manifest.bundle_id)
    own = Config(data=config.data, name=kind, models=config.models, epochs=config.epochs)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return refresh(own, Options(log=str(log)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/support")
    parser.add_argument("--epochs", type=int, default=Config.epochs)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = dataset.load(arguments.data)
        more, clean = write(data, Path(place) / "base")
        config = Config(data=f"{place}/base", name="champion", models=f"{place}/models", epochs=arguments.epochs)
        with contextlib.redirect_stdout(sys.stderr):
            champion = Classifier.load(train(config).folder)
        before = score(champion, clean).correct.mean()
        print(f"champion: {before:.1%} right on {len(clean)} clean rows; {len(more)} new labels a round")
        for kind in KINDS:
            found = round_of(kind, config, more, data.taxonomy.names, champion)
            home = config.home.with_name(kind)
            challenger = score(Classifier.load(home / str(found.version)), clean).correct.mean()
            served = champion if versions.serving(home) != found.version else Classifier.load(home)
            after = score(served, clean).correct.mean()
            print(f"{kind:<9}{found.outcome:<11}challenger {challenger:.1%}, serving {after:.1%}", flush=True)
            for reason in found.reasons:
                print(f"           {reason}")


if __name__ == "__main__":
    main()
