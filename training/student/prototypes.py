"""A student before there is a label: each intent is the direction of its definition and its examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from inference.bundle.redact import Redactor
from inference.bundle.taxonomy import Intent, Taxonomy
from training.data.rows import Row
from training.student.model import Base, Collator, Student, encode, load_base, name_as_text
from training.student.probe import embeddings

_PHRASES = re.compile(r"(?<=[.;:!?])\s+|,\s+")
SHORTEST_PHRASE = 4  # characters


def from_taxonomy(taxonomy: Taxonomy, base: Base, max_tokens: int, redact: Redactor) -> tuple[Student, Any]:
    """A student with its tokenizer whose head holds one prototype an intent; the encoder is as it came.

    A prototype lies half-way between the mean of the definition's phrases and the mean of the examples: a whole
    definition, or all texts in one mean, is right less often (docs/LOG.md). Raises ValueError as `load_base` does.
    """
    student, tokenizer = load_base(base, taxonomy.names, max_tokens)
    with torch.no_grad():
        for i, intent in enumerate(taxonomy.intents):
            means = [_mean(student, tokenizer, [redact(text) for text in texts]) for texts in texts_of(intent)]
            student.head.weight[i] = nn.functional.normalize(torch.stack(means).sum(0), dim=0)
        nn.init.zeros_(student.head.bias)
    return student.eval(), tokenizer


def texts_of(intent: Intent) -> list[list[str]]:
    """What says what an intent means: the definition's phrases and the examples; its name where it has neither."""
    phrases = [phrase for phrase in _PHRASES.split(intent.definition) if len(phrase) >= SHORTEST_PHRASE]
    examples = [example for example in intent.examples if example.strip()]
    return [texts for texts in (phrases, examples) if texts] or [[name_as_text(intent.name)]]


def _mean(student: Student, tokenizer: Any, texts: Sequence[str]) -> torch.Tensor:
    rows = [Row("", text, student.labels[0]) for text in texts]
    found = embeddings(student, encode(rows, student, tokenizer, 0.0), Collator(tokenizer))
    return nn.functional.normalize(found.mean(0), dim=0)
