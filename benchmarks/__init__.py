"""Measurements: each module is a command that prints a table; none of them is a test."""
