"""A published bundle with keyword rules put in, as training would have sealed it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from inference.bundle.manifest import TAXONOMY, Bundle, Certificate, resolve, seal
from inference.bundle.rules import MeasuredRule
from inference.bundle.taxonomy import Rule

CERTIFICATES = (Certificate(0.90, 0.01, 0.5), Certificate(0.95, 0.01, 0.9), Certificate(0.97, 0.01, None))


def add_rules(home: Path, folder: Path, *rules: Rule, certificates: Sequence[Certificate] = CERTIFICATES) -> Path:
    """A copy of a model's folder whose bundle has `rules`, with the measured confidences that their names say."""
    copy = shutil.copytree(home, folder)
    root = resolve(copy)
    bundle = Bundle.load(root)
    (root / TAXONOMY).write_text(replace(bundle.taxonomy, rules=rules).to_toml(), encoding="utf-8")
    measured = tuple(MeasuredRule(rule.name, rule.intent, 9, 9, float(rule.name)) for rule in rules)
    seal(root, replace(bundle.manifest, rules=measured, certificates=tuple(certificates)))
    return copy
