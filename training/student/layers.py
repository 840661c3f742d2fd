"""Some layers of an encoder alone: what the lower ones make of a text is computed once, and not for every one above."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel


class Layout(NamedTuple):
    """Where an architecture keeps its layers; in each the two maps of the feed-forward part, and their width's name."""

    stack: str
    up: str
    down: str
    width: str


LAYOUTS = {
    "bert": Layout("encoder", "intermediate.dense", "output.dense", "intermediate_size"),
    "roberta": Layout("encoder", "intermediate.dense", "output.dense", "intermediate_size"),
    "distilbert": Layout("transformer", "ffn.lin1", "ffn.lin2", "hidden_dim"),
}


def layers_of(encoder: PreTrainedModel) -> nn.ModuleList:
    """The layers of an architecture of LAYOUTS, the one next to the tokens first."""
    layers: nn.ModuleList = _stack(encoder).layer
    return layers


def _stack(encoder: PreTrainedModel) -> Any:
    return getattr(encoder, LAYOUTS[encoder.config.model_type].stack)


class _Given(nn.Module):
    """Stands where the embeddings are: what enters the first layer is given."""

    def forward(self, input_ids: None = None, inputs_embeds: torch.Tensor | None = None, **_: Any) -> Any:
        return inputs_embeds


@contextlib.contextmanager
def lowest(encoder: Any, count: int) -> Iterator[None]:
    """Let `encoder`, of an architecture of LAYOUTS, end after its embeddings and `count` layers."""
    with _layers(encoder, slice(count)):
        yield


@contextlib.contextmanager
def only(encoder: Any, begin: int, end: int | None = None) -> Iterator[None]:
    """Let `encoder` be its layers from `begin` up to `end`: what enters them is given as `inputs_embeds`."""
    embeddings = encoder.embeddings
    with _layers(encoder, slice(begin, end)):
        encoder.embeddings = _Given()
        try:
            yield
        finally:
            encoder.embeddings = embeddings


@contextlib.contextmanager
def _layers(encoder: Any, some: slice) -> Iterator[None]:
    stack = _stack(encoder)
    whole = stack.layer
    stack.layer = whole[some]
    try:
        yield
    finally:
        stack.layer = whole
