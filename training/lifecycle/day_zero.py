"""A model from the taxonomy alone, so that day zero has a guess: without a certificate, and never accepted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from inference.bundle import versions
from inference.bundle.manifest import TAXONOMY, Certificate, Manifest
from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common.locks import take_lock
from training.evaluation.certificate import delta_shares
from training.lifecycle.pipeline import exported, libraries
from training.lifecycle.versions import publish
from training.student import model, prototypes
from training.student.config import Config

CARD = """# Model card

This model was made from the taxonomy alone, by the similarity of a message to definitions and examples. No labelled
row was seen, so nothing is known of how often it is right: it has no certificate, and no answer of it is accepted. It
is a guess for the days before there are labels; `python -m training.refresh` and `python -m training.train` replace it.
"""


def from_taxonomy(config: Config) -> Path:
    """Publish a model made from the taxonomy in the folder or file `config.data`, and return its folder.

    Raises ValueError if there is no taxonomy, or if a model serves already, which has seen more than that.
    """
    data = Path(config.data)
    path = data / TAXONOMY if data.is_dir() else data
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(f"--from-taxonomy needs a taxonomy: {data} is no .toml file and no folder with {TAXONOMY}")
    taxonomy = Taxonomy.load(path)
    if path.name == TAXONOMY:
        config = replace(config, data=str(path.parent))
    base = model.resolve_base(config.base)
    model.check_base(base, config.max_tokens)
    with take_lock(config.home / ".lock", f"another run is training {config.home}"):
        serving = versions.serving(config.home)
        if serving:
            raise ValueError(f"{config.home} serves {serving} already: --from-taxonomy is for a model that has none")
        draft = config.home / ".runs" / "taxonomy"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        target = publish(draft, _made(config, taxonomy, base, draft), config.home)
        shutil.rmtree(draft.parent)
    return target


def _made(config: Config, taxonomy: Taxonomy, base: model.Base, draft: Path) -> Manifest:
    redact = load_redactor(config.redactor)
    student, tokenizer = prototypes.from_taxonomy(taxonomy, base, config.max_tokens, redact)
    classifier, parity = exported(config, taxonomy, _texts(taxonomy), student, tokenizer, draft)
    report = {"calibration": {}, "parity": asdict(parity), "settings": config.shown()}
    (draft / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    (draft / "README.md").write_text(CARD, encoding="utf-8")
    return replace(
        classifier.bundle.manifest,
        certificates=tuple(Certificate(target, 0.0, None) for target in delta_shares(config.delta, config.target)),
        target=config.target,
        never_accepted=taxonomy.names,
        base={"name": base.name, "sha256": base.sha256},
        lineage={"version": 0, "delta_spent": 0.0},
        libraries=libraries(),
    )


def _texts(taxonomy: Taxonomy) -> Sequence[str]:
    return [text for intent in taxonomy.intents for texts in prototypes.texts_of(intent) for text in texts]
