"""Monoku's inference side: a certified intent classifier that runs in-process on a CPU, and a cascade around it."""

from typing import TYPE_CHECKING, Any

from inference.bundle.manifest import Bundle, BundleError, Certificate
from inference.classifier import Classifier, Prediction
from inference.common.errors import MonokuError

if TYPE_CHECKING:
    from inference.bundle.taxonomy import Taxonomy
    from inference.cascade import Cascade
    from inference.serving.answer import Answer, Router
    from inference.serving.policy import Policy

__distribution__ = "monoku"  # another distribution installs an `inference` too: `import monoku` looks for this line
__all__ = [
    "Answer",
    "Bundle",
    "BundleError",
    "Cascade",
    "Certificate",
    "Classifier",
    "MonokuError",
    "Policy",
    "Prediction",
    "Router",
    "Taxonomy",
]

_LAZY = {
    "Answer": "inference.serving.answer",
    "Cascade": "inference.cascade",
    "Policy": "inference.serving.policy",
    "Router": "inference.serving.answer",
    "Taxonomy": "inference.bundle.taxonomy",
}


def __getattr__(name: str) -> Any:
    # Whoever embeds the classifier alone does not wait for what a cascade is made of.
    if name not in _LAZY:
        raise AttributeError(f"module 'inference' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)
