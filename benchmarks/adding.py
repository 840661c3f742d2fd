"""What does a new intent cost the old ones?

    python -m benchmarks.adding [--seeds 0 1]

Carves the intent `orders` out of data/support by the command in the README (`python -m training.change`, with recorded
answers for the rows that it asks about), trains on both, and compares them on the test rows of the old intents.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.classifier import Classifier
from training import change
from training.data import dataset
from training.data.rows import Row
from training.evaluation.scored import score
from training.lifecycle.pipeline import train
from training.student.config import Config

NEW = Path("data/support-orders")


def carve(data: str, out: Path) -> None:
    """Run the command; its output folder holds the rows under the new taxonomy."""
    taxonomy, teacher = str(NEW / "taxonomy.toml"), f"recorded:{NEW / 'answers.jsonl'}"
    where = ["--data", data, "--out", str(out), "--taxonomy", taxonomy]
    if change.main([*where, "--among", "general", "--teacher", teacher, "--yes"]):
        raise SystemExit("training.change failed")


def right(bundle: Path, rows: Sequence[Row]) -> np.ndarray:
    return score(Classifier.load(bundle), rows).correct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/support")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        wider = Path(place) / "wider"
        carve(arguments.data, wider)
        after = dataset.load(str(wider)).split("test")
        moved = {row.key for row in after if "was" in row.extra}
        old = [row for row in dataset.load(arguments.data).split("test") if row.key not in moved]
        new = [row for row in after if row.key in moved]
        found = []
        for seed in arguments.seeds:
            before = train(Config(data=arguments.data, name=f"before-{seed}", models=place, seed=seed)).folder
            bundle = train(Config(data=str(wider), name=f"after-{seed}", models=place, seed=seed)).folder
            found.append((right(before, old), right(bundle, old), right(bundle, new)))
    was, now, added = (np.mean(side, axis=0) for side in zip(*found, strict=True))
    names = np.array([row.label for row in old])
    print(f"\n{'test rows of':<14}{'rows':>6}{'before':>9}{'after':>9}   mean of seeds {arguments.seeds}")
    for name in sorted(set(names)):
        print(f"{name:<14}{(names == name).sum():>6}{was[names == name].mean():>9.1%}{now[names == name].mean():>9.1%}")
    print(f"{'old intents':<14}{len(old):>6}{was.mean():>9.1%}{now.mean():>9.1%}")
    print(f"{'new intent':<14}{len(new):>6}{'–':>9}{added.mean():>9.1%}")


if __name__ == "__main__":
    main()
