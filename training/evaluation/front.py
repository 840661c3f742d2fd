"""The front matter of a model card: YAML that the Hugging Face hub reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from inference.bundle.manifest import Manifest

TAGS = ("onnx", "intent-classification", "selective-classification", "distillation", "monoku")
ON_THE_HUB = {"all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2"}  # the base model that is embedded


def front_matter(manifest: Manifest, report: Mapping[str, Any]) -> str:
    """Licence, languages, tags, base model and metrics between two lines of dashes."""
    from huggingface_hub import EvalResult, ModelCardData

    data = report.get("data") or {}
    name = data.get("name") or "the training data"
    measured = [
        EvalResult("text-classification", name, f"{name}, test", metric, round(report[key], 4), dataset_split="test")
        for metric, key in (("accuracy", "accuracy"), ("f1", "macro_f1"))
    ]
    values = ModelCardData(
        license=data.get("license", "unknown"),
        language=data.get("language") or None,
        library_name="onnx",
        pipeline_tag="text-classification",
        tags=list(TAGS),
        base_model=_on_the_hub(manifest.base["name"]),
        metrics=["accuracy", "f1"],
        model_name=name,
        eval_results=measured,
    )
    return f"---\n{values.to_yaml().strip()}\n---"


def _on_the_hub(base: str) -> str | None:
    """The hub's name of a base model; None for a folder on this machine."""
    name = ON_THE_HUB.get(base, base)
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else None
