"""The anchor: the best version ever published. Losses against it are tested anew in every round, so that many small
losses, none of which is significant against the version before, cannot add up.

The k-th challenger that is tested against one anchor is tested at a level ∝ (k + 10)^-1.5, and all levels add up to
0.05: all tests against it together keep a loss of over one point out with 95 % confidence (bio-creep in non-inferiority
trials: D'Agostino, Massaro and Sullivan 2003). The anchor moves only on a significant gain, at the same level; a
changed question sets a new one. `python -m benchmarks.rounds` simulates it; with levels ∝ k^-2, which fall faster, half
as many challengers of equal skill are published.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.special import zeta

from inference.common.files import write_atomically
from training.evaluation.statistics import LEVEL

FILE = "anchor.json"
DELAY, DECAY = 10, 1.5
_ALL = float(zeta(DECAY, DELAY + 1))  # the sum of (k + DELAY)^-DECAY over k = 1, 2, …


@dataclass(frozen=True)
class Anchor:
    """A version's name, the question that it answers, and how many challengers were tested against it."""

    version: str
    question: str
    tested: int = 0

    @property
    def level(self) -> float:
        """The level at which the next challenger is tested."""
        return LEVEL / _ALL * (self.tested + 1 + DELAY) ** -DECAY


def read_anchor(home: Path) -> Anchor | None:
    """The anchor of a model, None where there is none, or its version is gone."""
    path = home / FILE
    if not path.is_file():
        return None
    try:
        anchor = Anchor(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it: the serving version becomes the anchor") from error
    return anchor if (home / anchor.version).is_dir() else None


def write_anchor(home: Path, anchor: Anchor) -> None:
    """Keep the anchor for the next round."""
    write_atomically(home / FILE, json.dumps(asdict(anchor)).encode())
