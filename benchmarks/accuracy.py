"""Accuracy of the shipped file over several seeds.

    python -m benchmarks.accuracy --data DIR/clinc150 [--seeds 0 1 2]

Trains models/<data>-s<seed> for each seed that has no bundle yet, and prints what the bundles' reports say. CLINC150 is
published by clinc/oos-eval (data_full.json, and 250 out-of-scope training rows of data_oos_plus.json), BANKING77 by
PolyAI-LDN/task-specific-datasets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import BundleError, resolve
from training.lifecycle.pipeline import train
from training.student.config import Config


def report_of(data: Path, seed: int, models: str) -> dict[str, Any]:
    """The report of one seed's bundle, trained now if there is none."""
    config = Config(data=str(data), name=f"{data.name}-s{seed}", models=models, seed=seed)
    try:
        version = resolve(config.home)
    except BundleError:
        version = train(config).folder
    return dict(json.loads((version / "report.json").read_text(encoding="utf-8")))


def figures(report: dict[str, Any]) -> dict[str, float]:
    outside, torch = report["out_of_scope"], report["torch_on_test"]["in_scope"]
    chosen = next(c for c in report["certificates"] if c["target"] == 0.95)
    return {
        "accuracy": outside["in_scope_accuracy"] if outside else report["accuracy"],
        "AUROC": outside["auroc"] if outside else float("nan"),
        "oos recall": outside["out_of_scope_recall"] if outside else float("nan"),
        "all rows": report["accuracy"],
        "torch, in scope": torch["accuracy"],
        "same label": torch["agreement"],
        "coverage at 95": chosen["test_coverage"],
        "agreement": chosen["test_agreement"] or float("nan"),
        "minutes": sum(report["seconds"].values()) / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", default="models")
    arguments = parser.parse_args()
    rows = [figures(report_of(arguments.data, seed, arguments.models)) for seed in arguments.seeds]
    print(
        f"\n{arguments.data.name}: accuracy, torch's accuracy and the share of same labels are of in-scope rows; "
        "minutes are the run's own"
    )
    print("seed  " + "".join(f"{name:>17}" for name in rows[0]))
    for seed, row in zip(arguments.seeds, rows, strict=True):
        print(f"{seed:<6}" + "".join(f"{value:>17.4f}" for value in row.values()))
    print("mean  " + "".join(f"{np.mean([row[name] for row in rows]):>17.4f}" for name in rows[0]))


if __name__ == "__main__":
    main()
