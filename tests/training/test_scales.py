from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from inference.bundle.engine import in_batches, open_session
from training.student.scales import TEXTS, fixed_scales

IDS = 40
WIDTH, LABELS = 32, 5


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """Embeddings that grow with the token's id, and a linear layer of which two products read the same activations."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(IDS, WIDTH)) * np.linspace(0.1, 4, IDS)[:, None]
    layers = rng.normal(size=(3, WIDTH, WIDTH)) / 4
    made = {"table": table, "a": layers[0], "b": layers[1], "c": layers[2][:, :LABELS]}
    return {name: value.astype(np.float32) for name, value in made.items()}


@pytest.fixture(scope="module")
def dynamic(weights: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "a"], ["left"]),
        helper.make_node("MatMul", ["embedded", "b"], ["right"]),
        helper.make_node("Add", ["left", "right"], ["both"]),
        helper.make_node("Relu", ["both"], ["positive"]),
        helper.make_node("MatMul", ["positive", "c"], ["each"]),
        helper.make_node("ReduceMax", ["each"], ["logits"], axes=[1], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", LABELS])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    home = tmp_path_factory.mktemp("dynamic")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), home / "fp32.onnx")
    quantize_dynamic(home / "fp32.onnx", home / "int8.onnx", op_types_to_quantize=["MatMul"], reduce_range=True)
    return onnx.load(home / "int8.onnx")


def fixed(dynamic: onnx.ModelProto, ids: list[list[int]]) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(dynamic)
    return fixed_scales(model, ids)


def true_logits(weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    embedded = weights["table"][ids]
    both = np.maximum(embedded @ weights["a"] + embedded @ weights["b"], 0)
    return np.asarray((both @ weights["c"]).max(0))


texts = st.lists(st.lists(st.integers(0, IDS - 1), min_size=1, max_size=6), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(ids=texts)
def test_a_text_alone_and_in_a_batch_has_the_same_logits(dynamic: onnx.ModelProto, ids: list[list[int]]) -> None:
    session = open_session(fixed(dynamic, ids).SerializeToString())
    alone = np.concatenate([in_batches(session, [one]) for one in ids])
    assert np.array_equal(alone, in_batches(session, ids))


@settings(max_examples=50, deadline=None)
@given(ids=texts)
def test_the_ranges_of_one_text_are_those_it_has_as_it_runs(dynamic: onnx.ModelProto, ids: list[list[int]]) -> None:
    session = open_session(dynamic.SerializeToString())
    for one in ids[:3]:
        said = in_batches(open_session(fixed(dynamic, [one]).SerializeToString()), [one])
        assert said == pytest.approx(in_batches(session, [one]), abs=1e-4)


def test_ranges_of_many_texts_are_near_the_true_logits(
    dynamic: onnx.ModelProto, weights: dict[str, np.ndarray]
) -> None:
    ids = np.random.default_rng(1).integers(0, IDS, (60, 5)).tolist()
    session = open_session(fixed(dynamic, ids[:20]).SerializeToString())
    true = np.array([true_logits(weights, one) for one in ids])
    assert np.abs(in_batches(session, ids) - true).mean() < 0.05 * np.abs(true).mean()


def test_no_scale_is_found_as_a_text_runs_and_each_product_is_one_operator(dynamic: onnx.ModelProto) -> None:
    kinds = [node.op_type for node in fixed(dynamic, [[1, 2, 3]]).graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 3
    assert kinds.count("QuantizeLinear") == 2  # two of the products read the same activations
    assert not {"DynamicQuantizeLinear", "MatMulInteger", "Cast"} & set(kinds)


def test_what_no_text_has_shown_saturates(dynamic: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
    small, large = [0, 1, 2], [IDS - 1] * 3
    session = open_session(fixed(dynamic, [small]).SerializeToString())
    said = in_batches(session, [large])[0]
    assert np.isfinite(said).all()
    assert np.abs(said).max() < np.abs(true_logits(weights, large)).max() / 2


def test_activations_that_are_always_zero_have_a_scale(dynamic: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(dynamic)
    for item in model.graph.initializer:
        if item.name == "table":
            item.CopyFrom(numpy_helper.from_array(np.zeros((IDS, WIDTH), np.float32), "table"))
    session = open_session(fixed_scales(model, [[1, 2]]).SerializeToString())
    assert in_batches(session, [[3, 4]]).tolist() == [[0.0] * LABELS]


def test_a_text_whose_activations_are_all_zero_widens_no_range(
    dynamic: onnx.ModelProto, weights: dict[str, np.ndarray]
) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(dynamic)
    table = weights["table"] / 100  # far below 1, the scale that is found of zeros
    table[0] = 0
    for item in model.graph.initializer:
        if item.name == "table":
            item.CopyFrom(numpy_helper.from_array(table, "table"))
    alone, beside = (scales_of(fixed(model, ids)) for ids in ([[1, 2]], [[1, 2], [0]]))
    assert beside == alone
    assert max(alone) < 0.01


@pytest.mark.parametrize("ids", [[], [[]], [[], []]])
def test_no_text_at_all_is_refused(dynamic: onnx.ModelProto, ids: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="no text shows how large activations are: give at least one"):
        fixed(dynamic, ids)


def test_of_many_texts_some_from_all_over_are_read(dynamic: onnx.ModelProto) -> None:
    many = [[0]] * (2 * TEXTS) + [[IDS - 1], [IDS - 1]]
    largest = [scales_of(fixed(dynamic, ids))[0] for ids in (many, [[IDS - 1]], [[0]])]
    assert largest[0] >= largest[1] > largest[2]


def scales_of(model: onnx.ModelProto) -> list[float]:
    """The scales of activations, those of the first ones first."""
    constants = {item.name: item for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    return [float(numpy_helper.to_array(constants[node.input[1]])) for node in nodes]


def test_a_file_of_it_loads_again(dynamic: onnx.ModelProto, tmp_path: Path) -> None:
    made = fixed(dynamic, [[1, 2, 3], [4]])
    onnx.save(made, tmp_path / "model.onnx")
    ids = [[1, 2, 3], [7, 7], [4]]
    loaded = open_session((tmp_path / "model.onnx").read_bytes())
    assert np.array_equal(in_batches(loaded, ids), in_batches(open_session(made.SerializeToString()), ids))
