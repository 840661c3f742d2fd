from collections.abc import Callable

import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
)

from training.student.layers import layers_of, lowest, only

SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
LAYERS = 3
IDS = torch.randint(3, 50, (5, 7), generator=torch.Generator().manual_seed(1))
MASK = torch.ones(5, 7, dtype=torch.int64)
MASK[2, 4:] = 0


def bert() -> PreTrainedModel:
    return BertModel(BertConfig(**SIZES))


def roberta() -> PreTrainedModel:
    return RobertaModel(RobertaConfig(**SIZES, pad_token_id=1))


def distilbert() -> PreTrainedModel:
    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_layers=LAYERS, n_heads=2, hidden_dim=64))


ARCHITECTURES = pytest.mark.parametrize("make", [bert, roberta, distilbert])


def said(encoder: PreTrainedModel, **inputs: torch.Tensor) -> torch.Tensor:
    encoder.eval()
    with torch.no_grad():
        return encoder(attention_mask=MASK, **inputs).last_hidden_state


@ARCHITECTURES
@pytest.mark.parametrize("below", range(LAYERS + 1))
def test_the_lowest_layers_and_then_the_others_say_what_all_do(make: Callable[[], PreTrainedModel], below: int) -> None:
    torch.manual_seed(0)
    encoder = make()
    whole = said(encoder, input_ids=IDS)
    with lowest(encoder, below):
        hidden = said(encoder, input_ids=IDS)
    with only(encoder, below):
        above = said(encoder, inputs_embeds=hidden)
    assert torch.equal(above, whole)
    assert torch.equal(said(encoder, input_ids=IDS), whole)
    assert torch.equal(hidden, whole) == (below == LAYERS)


@ARCHITECTURES
def test_an_error_leaves_the_encoder_whole(make: Callable[[], PreTrainedModel]) -> None:
    torch.manual_seed(0)
    encoder = make()
    whole, layers = said(encoder, input_ids=IDS), list(layers_of(encoder))
    for part in (lowest(encoder, 1), only(encoder, 1, 2)):
        with pytest.raises(RuntimeError, match="stopped"), part:
            raise RuntimeError("stopped")
    assert list(layers_of(encoder)) == layers
    assert torch.equal(said(encoder, input_ids=IDS), whole)
