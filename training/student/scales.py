"""Fixed activation scales: ranges that texts have shown, in place of a range that every run finds anew.

Dynamic quantisation takes one scale for a whole tensor, so what is said of a text would depend on the others of a
batch. A few channels that are large whatever the text set the ranges of a transformer, so fixed ones cost nothing
(docs/LOG.md); what lies outside of them saturates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inference.bundle.engine import open_session

TEXTS = 1_000
CONTRIB = "com.microsoft"
LEVELS = 255
Range = tuple[float, float]


def fixed_scales(model: onnx.ModelProto, ids: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """A dynamically quantised model whose activations have the ranges that token ids of texts show in it.

    Up to TEXTS of `ids` are read, evenly spread. Raises ValueError if there are none.
    """
    dynamic = [node for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"]
    ranges = _shown(model, dynamic, ids)
    constants = {item.name for item in model.graph.initializer}
    for node, (low, high) in zip(dynamic, ranges, strict=True):
        scale = np.float32((high - low) / LEVELS) or np.float32(1.0)
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, LEVELS))
        values = zip(node.output[1:], (scale, zero), strict=True)
        model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in values)
        node.op_type = "QuantizeLinear"
        node.input.extend(node.output[1:])
        del node.output[1:]
    _join_products(model, constants)
    return model


def _shown(model: onnx.ModelProto, dynamic: Sequence[NodeProto], ids: Sequence[Sequence[int]]) -> list[Range]:
    """The least and the largest value that each of the nodes reads on any of the texts, and 0 if all are on one side.

    They are read themselves: the scale that a node finds is 1 where it reads nothing but zeros.
    """
    some = [one for one in ids if one]
    if not some:
        raise ValueError("no text shows how large activations are: give at least one")
    ranges = {node.input[0]: (0.0, 0.0) for node in dynamic}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ranges)
    session = open_session(probe.SerializeToString())
    for one in some[:: -(-len(some) // TEXTS)]:
        read = session.run(None, {"input_ids": np.array([one], np.int64)})[1:]
        for (name, (low, high)), values in zip(ranges.items(), read, strict=True):
            ranges[name] = float(values.min(initial=low)), float(values.max(initial=high))
    return [ranges[node.input[0]] for node in dynamic]


def _join_products(model: onnx.ModelProto, constants: set[str]) -> None:
    """Put one operator in place of each integer product with its cast and scaling: the same, in one pass.

    `constants` are the initializers that were there before the scales.
    """
    nodes = list(model.graph.node)
    made = {name: node for node in nodes for name in node.output}
    users = {name: node for node in nodes for name in node.input}
    joined: dict[str, NodeProto] = {}
    gone = set[str]()
    for node in nodes:
        if node.op_type != "MatMulInteger":
            continue
        cast = users[node.output[0]]
        scaled = users[cast.output[0]]
        scaling = made[next(name for name in scaled.input if name != cast.output[0])]
        weights = next(name for name in scaling.input if name in constants)
        activations = next(name for name in scaling.input if name not in constants)
        given = [*node.input[:2], activations, weights, *node.input[2:]]
        joined[scaled.output[0]] = helper.make_node("MatMulIntegerToFloat", given, scaled.output, domain=CONTRIB)
        gone |= {node.output[0], cast.output[0], scaling.output[0]}
    kept = [joined.get(node.output[0], node) for node in nodes if node.output[0] not in gone]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    if not any(one.domain == CONTRIB for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
