"""Narrow the encoder's feed-forward layers before it is fine-tuned: fewer neurons, chosen on real text.

A neuron is kept for how much of the layer's output varies with it; the kept neurons' output weights are then refitted
by least squares to what the whole layer said on the training texts, and stay near what they were where texts are few.
The idea is that of one-shot pruning with a layer-wise reconstruction (Frantar and Alistarh 2023, "SparseGPT"), for
whole neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from training.student.layers import LAYOUTS, layers_of, lowest, only

MULTIPLE = 64
PRIOR_TOKENS = 100  # that the weights of before count as, when others are fitted to texts


@torch.no_grad()
def narrow(encoder: PreTrainedModel, share: float, texts: Sequence[torch.Tensor]) -> None:
    """Keep about `share` of each feed-forward layer's neurons, in place, layer by layer from the input.

    How many that is, is a multiple of MULTIPLE; where it would be all or more, nothing changes. `texts` are token ids
    without padding, int64 of shape (texts of one length, tokens) each. An architecture that is not in LAYOUTS is left
    as it is.
    """
    layout = LAYOUTS.get(encoder.config.model_type)
    if layout is None or share >= 1:
        return
    width = getattr(encoder.config, layout.width)
    keep = max(MULTIPLE, round(share * width / MULTIPLE) * MULTIPLE)
    if keep >= width:
        return
    encoder.eval()
    with lowest(encoder, 0):
        hidden = [encoder(input_ids=ids).last_hidden_state for ids in texts]
    for i, layer in enumerate(layers_of(encoder)):
        up, down = (cast(nn.Linear, layer.get_submodule(name)) for name in (layout.up, layout.down))
        with only(encoder, i, i + 1):
            moments = _second_moments(encoder, down, hidden)
        new_up, new_down = _narrowed(up, down, moments, keep)
        _replace(layer, layout.up, new_up)
        _replace(layer, layout.down, new_down)
        with only(encoder, i, i + 1):
            hidden = [encoder(inputs_embeds=one).last_hidden_state for one in hidden]
    setattr(encoder.config, layout.width, keep)


def _second_moments(encoder: Any, down: nn.Linear, hidden: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over tokens of [a, 1]ᵀ[a, 1] for the activations a that enter `down`, in float64."""
    total = torch.zeros(down.in_features + 1, down.in_features + 1, dtype=torch.float64)

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        flat = inputs[0].reshape(-1, down.in_features)
        total.add_(_gram(torch.cat([flat, flat.new_ones(len(flat), 1)], 1)))

    hook = down.register_forward_pre_hook(add)
    try:
        for one in hidden:
            encoder(inputs_embeds=one)
    finally:
        hook.remove()
    return total


def _gram(rows: torch.Tensor) -> torch.Tensor:
    return (rows.T @ rows).double()


def _narrowed(up: nn.Linear, down: nn.Linear, moments: torch.Tensor, keep: int) -> tuple[nn.Linear, nn.Linear]:
    tokens, mean = moments[-1, -1], moments[-1, :-1] / moments[-1, -1]
    variance = moments.diagonal()[:-1] / tokens - mean.square()
    weight = down.weight.double()
    kept = (variance * weight.square().sum(0)).topk(keep).indices.sort().values
    with_bias = torch.cat([kept, torch.tensor([down.in_features])])
    whole = torch.cat([weight.T, down.bias.double()[None]])
    gram = moments[with_bias][:, with_bias]
    prior = PRIOR_TOKENS * gram.diagonal().mean() / tokens
    wanted = moments[with_bias] @ whole + prior * whole[with_bias]
    fitted = torch.linalg.solve(gram + prior * torch.eye(len(gram), dtype=gram.dtype), wanted).float()
    new_up, new_down = nn.Linear(up.in_features, keep), nn.Linear(keep, down.out_features)
    new_up.load_state_dict({"weight": up.weight[kept], "bias": up.bias[kept]})
    new_down.load_state_dict({"weight": fitted[:-1].T, "bias": fitted[-1]})
    return new_up, new_down


def _replace(layer: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(layer.get_submodule(parent), child, module)
