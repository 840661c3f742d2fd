"""What the exit does to a certificate: coverage and agreement of one bundle calibrated with it, and without.

    python -m benchmarks.early --bundle models/clinc150 --data ../shared/data/clinc150

Both are calibrated on the same rows with the same delta, as in training, and asked about the same test rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from inference.bundle.manifest import Bundle, Manifest
from inference.bundle.redact import load_redactor
from inference.classifier import Classifier
from training.data import dataset
from training.data.dataset import Dataset
from training.evaluation.calibrate import calibrated
from training.evaluation.report import machine
from training.evaluation.scored import Served, score, serve

TARGETS = (0.95, 0.97)
# By how much the exit may change what is accepted, what is right of it, and what of the rest passes for an intent.
MOST = {"accepted": 0.005, "right": 0.003, "taken for an intent": 0.005}


def answers(bundle: Bundle, data: Dataset) -> Iterator[tuple[float, Served, Served]]:
    """The target, and what a bundle that is calibrated anew answers to calibration and test rows at it."""
    manifest, rows = bundle.manifest, (data.trials("calibration"), data.split("test"))
    draft = Manifest(labels=manifest.labels, max_tokens=manifest.max_tokens, redactor=manifest.redactor)
    for target in TARGETS:
        classifier = Classifier(replace(bundle, manifest=draft))
        made, _ = calibrated(classifier, data, target, manifest.lineage["delta_spent"])
        classifier = classifier.at(target, made)
        yield target, *(serve(classifier, score(classifier, some).answered()) for some in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="models/clinc150")
    parser.add_argument("--data", default="../shared/data/clinc150")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    if bundle.exit is None:
        raise SystemExit(f"{arguments.bundle} has no exit: nothing to compare")
    data = dataset.load(arguments.data, load_redactor(bundle.manifest.redactor), Path(arguments.bundle), remember=False)
    print(f"{machine()}; {len(data.trials('calibration'))} calibration and {len(data.split('test'))} test rows\n")
    print(f"{'':<14}{'calibration':>22}{'test, in scope':>22}{'out of scope':>14}{'exits':>9}{'out of scope':>14}")
    missed = []
    pairs = [answers(one, data) for one in (bundle, replace(bundle, exit=None))]
    for (target, *early), (_, *alone) in zip(*pairs, strict=True):
        with_exit, without = (figures(data, calibration, test) for calibration, test in (early, alone))
        for name, found in (("with", with_exit), ("without", without)):
            print(f"{target:.2f} {name:<9}" + "".join(f"{value:>11.1%}" for value in found.values()))
        lost = {name: without[name] - with_exit[name] for name in ("accepted", "right")}
        lost["taken for an intent"] = with_exit["taken for an intent"] - without["taken for an intent"]
        missed += [f"{name} at {target:.2f}" for name, points in lost.items() if points > MOST[name]]
    print("\nin each pair: accepted, and right among these;", f"missed: {', '.join(missed)}" if missed else "all met")


def figures(data: Dataset, calibration: Served, test: Served) -> dict[str, float]:
    """What is accepted and right on calibration and on test in scope; what of the rest is accepted as an intent."""
    outside = np.array([row.label in data.taxonomy.out_of_scope for row in data.split("test") if row.label])
    inside, rest = test.of(np.flatnonzero(~outside)), test.of(np.flatnonzero(outside))
    return {
        "accepted": calibration.coverage,
        "right": calibration.agreement or 0.0,
        "accepted in scope": inside.coverage,
        "right in scope": inside.agreement or 0.0,
        "taken for an intent": rest.beside(data.taxonomy.out_of_scope).coverage,
        "by the exit": test.exits,
        "of out of scope": rest.exits,
    }


if __name__ == "__main__":
    main()
