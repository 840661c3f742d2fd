"""A first bundle within minutes, before the student is fine-tuned: the encoder as it comes, and a head.

It and the full one are one version: they share one look at the calibration rows, and its delta in the parts FIRST and
the rest. The full one takes its place through the gate, as a refresh's does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from inference.bundle.manifest import Manifest, read_manifest
from inference.bundle.redact import load_redactor
from inference.bundle.versions import serving
from inference.classifier import Classifier
from training.data.looks import BaseLooks, Look, Part
from training.data.rows import Row
from training.evaluation.statistics import rows_needed
from training.lifecycle.champion import Opponent, compare
from training.lifecycle.compose import held_out
from training.lifecycle.gate import MOST_POINTS, Verdict
from training.lifecycle.pipeline import Judge, Trained, base_looks, load_data, train
from training.student.config import Config

FIRST = 0.1  # of the look's delta
NOT_TUNED = 1e-9  # minutes of fine-tuning: too few for any
LINEAGE = "first"  # a bundle's share of its look, where another one of the same look follows


class _PartOfLook:
    """The looks at base data, of which a model gets a part."""

    def __init__(self, looks: BaseLooks, part: Part) -> None:
        self._looks, self._part = looks, part

    def spend(self, delta: float, model: str) -> Look:
        return self._looks.spend(delta, model, self._part)


def train_first_and_full(config: Config) -> Trained:
    """Publish a quick bundle if none serves yet, then train as `pipeline.train` does, which see.

    A run that was killed goes on where it was: a quick bundle that serves is not made again. Without a certificate at
    the target it promises nothing, and by too few rows no two can be compared: then it is replaced as in any training.
    """
    data = load_data(config)
    if serving(config.home) is None:
        # To narrow the encoder takes longer than all that is quicker for it, as long as nothing is fine-tuned.
        quick = replace(config, minutes=NOT_TUNED, noisy_copies=0, feed_forward_share=1.0)
        train(quick, None, data, _PartOfLook(base_looks(config), Part(FIRST)), {LINEAGE: FIRST})
    manifest = read_manifest(config.home / str(serving(config.home)))
    if LINEAGE not in manifest.lineage or manifest.dataset != data.id():
        return train(config, None, data)
    rest = Part(1 - FIRST, int(manifest.lineage["version"]))
    rows, _ = held_out(data, (), None, 0, ())
    return train(config, _gate(config, manifest, rows), data, _PartOfLook(base_looks(config), rest))


def _gate(config: Config, manifest: Manifest, rows: Sequence[Row]) -> Judge | None:
    certified = any(one.target == config.target and one.accept_above is not None for one in manifest.certificates)
    if not certified or len(rows) < rows_needed(MOST_POINTS):
        return None

    def judge(challenger: Classifier) -> Verdict:
        champion = Classifier.load(config.home, redactor=load_redactor(config.redactor))
        return compare(Opponent(champion), challenger, rows, config.target)

    return judge
