"""Monoku's training side: labelled queries in, a certified ONNX bundle out."""

__distribution__ = "monoku"
