"""A published bundle with keyword rules put in, as training would have sealed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from inference.bundle.manifest import SCHEMA, TAXONOMY, Bundle, Certificate, IntentCertificate, resolve, seal
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


def add_own_target(home: Path, folder: Path, own: IntentCertificate) -> Path:
    """A copy of a model's folder whose bundle has an intent with a target of its own."""
    copy = shutil.copytree(home, folder)
    root = resolve(copy)
    bundle = Bundle.load(root)
    intents = (replace(one, target=own.target if one.name == own.intent else None) for one in bundle.taxonomy.intents)
    (root / TAXONOMY).write_text(replace(bundle.taxonomy, intents=tuple(intents)).to_toml(), encoding="utf-8")
    report = json.loads((root / "report.json").read_bytes())
    (root / "report.json").write_text(json.dumps(report | {"intent_certificates": [asdict(own)]}))
    seal(root, replace(bundle.manifest, schema=SCHEMA, intents=(own,)))
    return copy
