"""Monoku's inference side: a certified intent classifier that runs in-process on a CPU."""

from inference.bundle.manifest import Bundle, BundleError, Certificate
from inference.classifier import Classifier, Prediction

__all__ = ["Bundle", "BundleError", "Certificate", "Classifier", "Prediction"]
