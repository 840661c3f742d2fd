from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, PreTrainedModel

from training.student.narrow import narrow

IDS = torch.randint(0, 50, (16, 12), generator=torch.Generator().manual_seed(1))


def bert(width: int = 256) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertModel(BertConfig(vocab_size=50, intermediate_size=width, **sizes))


def distilbert() -> PreTrainedModel:
    torch.manual_seed(0)
    return DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=256))


def output(model: PreTrainedModel) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS).last_hidden_state


@pytest.mark.parametrize("make", [bert, distilbert])
def test_a_narrow_model_is_smaller_says_nearly_the_same_and_reloads(
    make: Callable[[], PreTrainedModel], tmp_path: Path
) -> None:
    model = make()
    before, size = output(model), model.num_parameters()
    narrow(model, 0.5, [IDS[:5], IDS[5:]])
    after = output(model)
    assert model.num_parameters() < size
    assert (after - before).norm() < 0.05 * before.norm()
    model.save_pretrained(tmp_path)
    assert torch.equal(output(type(model).from_pretrained(tmp_path)), after)


def test_neurons_that_never_fire_go_first_and_cost_nothing() -> None:
    model = bert()
    for layer in model.encoder.layer:
        layer.intermediate.dense.weight.data[::2] = 0
        layer.intermediate.dense.bias.data[::2] = -20
    before = output(model)
    narrow(model, 0.5, [IDS[:5], IDS[5:]])
    assert torch.allclose(output(model), before, atol=1e-3)


@pytest.mark.parametrize(("width", "share"), [(48, 0.5), (64, 0.667), (100, 0.99)])
def test_a_layer_that_no_multiple_makes_narrower_stays_as_it_is(width: int, share: float) -> None:
    model = bert(width)
    before = output(model)
    narrow(model, share, [IDS])
    assert torch.equal(output(model), before)


def test_a_share_of_one_changes_nothing() -> None:
    model = bert()
    before = output(model)
    narrow(model, 1.0, [])
    assert torch.equal(output(model), before)


def test_weights_stay_near_to_what_they_were_where_texts_are_few() -> None:
    model = bert()
    for layer in model.encoder.layer:  # so that most of what a layer says is its feed-forward part's
        layer.intermediate.dense.weight.data *= 10
        layer.output.dense.weight.data *= 10
    before = output(model)
    narrow(model, 0.5, [IDS[:1, :6]])
    # Fitted to the six tokens alone the weights forget what they were: 0.86 of the norm.
    assert (output(model) - before).norm() < 0.65 * before.norm()
