"""A data set in figures, for a person to read."""

from __future__ import annotations

import collections

import numpy as np

from training.data.dataset import Dataset
from training.data.splits import SPLITS

MOST_INTENTS_SHOWN = 20


def describe(dataset: Dataset) -> str:
    """The figures that `python -m training.dataset` prints."""
    lengths = np.array([len(row.text.split()) for row in dataset.rows])
    lines = [f"rows            {len(dataset.rows)} distinct of {dataset.tally.get('read', len(dataset.rows))} read"]
    words = f"median {np.median(lengths):.0f}, p95 {np.percentile(lengths, 95):.0f}, max {lengths.max()}"
    lines.append(f"words per row   {words}")
    lines += [f"{name.replace('_', ' '):<28}{count}" for name, count in sorted(dataset.tally.items()) if name != "read"]
    lines += _by_intent(dataset)
    lines.append(f"{'all':<28}" + "".join(f"{len(dataset.split(split)):>12}" for split in SPLITS))
    lines.append(f"{f'trials, {dataset.unit}':<28}" + "".join(f"{len(dataset.trials(s)):>12}" for s in SPLITS))
    lines += [f"warning: {warning}" for warning in dataset.warnings]
    return "\n".join([*lines, f"content id      {dataset.id()}"])


def _by_intent(dataset: Dataset) -> list[str]:
    lines = [f"{'intent':<28}" + "".join(f"{name:>12}" for name in SPLITS)]
    counts = collections.Counter((row.label, row.split) for row in dataset.rows)
    names = sorted(dataset.taxonomy.names, key=lambda n: -sum(counts[n, s] for s in SPLITS))
    shown = names if len(names) <= MOST_INTENTS_SHOWN else names[:10] + names[-10:]
    lines += [f"{name:<28}" + "".join(f"{counts[name, split]:>12}" for split in SPLITS) for name in shown]
    if len(shown) < len(names):
        lines.append(f"(the 10 largest and the 10 smallest of {len(names)} intents)")
    return lines
