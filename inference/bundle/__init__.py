"""THE CONTRACT between the two sides: a bundle's manifest, its taxonomy, its keyword rules, its redactor."""

from inference.bundle.manifest import Bundle, BundleError, Certificate, Manifest

__all__ = ["Bundle", "BundleError", "Certificate", "Manifest"]
