from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from inference.bundle.engine import BATCHES
from inference.bundle.manifest import MODEL, TAXONOMY, Bundle, Manifest
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from tests.encoders import ENCODERS
from training.data.rows import Row
from training.student import export, fit, tune
from training.student import model as student
from training.student.config import Config
from training.student.mixture import Mixture
from training.student.model import Student

LABELS = ("a", "b", "c")
TEXTS = ["pay the bill", "open the door for me please", "", "x " * 60, "once more"]


def exported(made: Student, tokenizer, folder: Path) -> Classifier:
    folder.mkdir()
    export.write_model(made, tokenizer, folder, TEXTS)
    (folder / TAXONOMY).write_text(Taxonomy.of(LABELS).to_toml())
    return Classifier(Bundle.draft(folder, Manifest(labels=LABELS, max_tokens=16)))


@pytest.fixture(scope="module")
def trained(tiny_base: Path):
    torch.manual_seed(3)
    return student.load_base(student.resolve_base(str(tiny_base)), LABELS, 16)


@pytest.fixture(scope="module")
def classifier(trained, tmp_path_factory) -> Classifier:
    return exported(*trained, tmp_path_factory.mktemp("export") / "bundle")


def test_the_file_that_ships_answers_as_torch_does(trained, classifier: Classifier) -> None:
    parity = export.check_parity(*trained, classifier, TEXTS)
    assert parity.texts == len(TEXTS)
    assert parity.agreement == 1.0
    assert parity.largest_difference < 0.05


def test_a_file_with_class_centres_answers_as_torch_does(tiny_base: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), LABELS, 16)
    made.mixture = Mixture(made.head.in_features, len(LABELS), 0.4).eval()
    parity = export.check_parity(made, tokenizer, exported(made, tokenizer, tmp_path / "bundle"), TEXTS)
    assert parity.largest_difference < 0.05


def test_the_file_is_fused_and_its_weights_are_seven_bits_wide(classifier: Classifier) -> None:
    model = onnx.load(classifier.bundle.root / MODEL)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QAttention", "MatMulIntegerToFloat"} <= kinds
    assert not {"DynamicQuantizeLinear", "MatMulInteger"} & kinds
    weights = [onnx.numpy_helper.to_array(w) for w in model.graph.initializer if w.data_type == onnx.TensorProto.INT8]
    assert weights
    assert max(np.abs(w.astype(int)).max() for w in weights) <= 64


def test_the_file_branches_nowhere(classifier: Classifier) -> None:
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in onnx.load(classifier.bundle.root / MODEL).graph.node}


def differing(length: int, largest: int) -> onnx.ModelProto:
    """A model that says something else of texts of this length in a batch of more than `largest`."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("ReduceMax", ["embedded"], ["true"], axes=[1], keepdims=0),
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Split", ["shape"], ["batch", "tokens"], axis=0),
        helper.make_node("Greater", ["batch", "largest"], ["many"]),
        helper.make_node("Equal", ["tokens", "length"], ["long"]),
        helper.make_node("And", ["many", "long"], ["wrong"]),
        helper.make_node("Cast", ["wrong"], ["error"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["true", "error"], ["logits"]),
    ]
    constants = {"table": np.ones((9, 3), np.float32), "length": np.array([length]), "largest": np.array([largest])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


TRIED = [
    (1, 255, False),
    (1, 256, True),
    (2, 1, False),
    (16, 15, False),
    (50, 4, False),
    (128, 1, False),
    (150, 0, True),
]


@pytest.mark.parametrize(("length", "largest", "same"), TRIED)
@pytest.mark.parametrize("ids", [[[5]], [[], [5, 6, 7, 8] * 9]])
def test_batches_are_tried_as_they_are_served_whatever_the_texts(
    ids: list[list[int]], length: int, largest: int, same: bool
) -> None:
    found = export.marked(differing(length, largest), ids, 200)
    assert {item.key: item.value for item in found.metadata_props} == ({BATCHES: "1"} if same else {})


def test_no_text_is_tried_that_is_longer_than_any_that_is_served() -> None:
    found = export.marked(differing(3, 1), [[5]], 2)
    assert found.metadata_props[0].key == BATCHES


def test_only_the_bundle_files_are_left(classifier: Classifier) -> None:
    assert {path.name for path in classifier.bundle.root.iterdir()} == {"model.onnx", "tokenizer.json", "taxonomy.toml"}


def test_a_file_that_answers_otherwise_is_refused(trained, classifier: Classifier, tiny_base: Path) -> None:
    torch.manual_seed(4)
    other, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), LABELS, 16)
    torch.nn.init.normal_(other.head.weight)
    texts = [f"open the {i} doors" for i in range(40)]
    with pytest.raises(export.ParityError, match=r"file is broken: on .* of 40 texts it gives another"):
        export.check_parity(other, tokenizer, classifier, texts)


def test_few_flips_and_near_ties_do_not_fail_the_check_and_many_flips_do() -> None:
    sure, tied = np.array([0.9, 0.08, 0.02]), np.array([0.4, 0.35, 0.25])
    for row, flips in ((sure, 3), (tied, 25)):
        ours = np.array([row[[1, 0, 2]]] * flips + [row] * (25 - flips))
        assert export.compared(ours, np.array([row] * 25)).agreement == pytest.approx(1 - flips / 25)
    with pytest.raises(export.ParityError, match=r"on 40.0% of 25 texts it gives another label than torch"):
        export.compared(np.array([sure[[1, 0, 2]]] * 10 + [sure] * 15), np.array([sure] * 25))


def test_what_was_trained_in_bf16_ships_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "bf16_is_faster", lambda step: True)  # whatever this processor has
    test_a_student_of_any_encoder_learns_and_ships("bert", tmp_path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own modules for two of them
@pytest.mark.parametrize("architecture", ENCODERS)
def test_a_student_of_any_encoder_learns_and_ships(architecture: str, tmp_path: Path) -> None:
    base = student.resolve_base(str(ENCODERS[architecture](tmp_path / architecture)))
    student.check_base(base, 16)
    rows = [Row(str(i), f"{LABELS[i % 3]} please, the one of {i}", LABELS[i % 3]) for i in range(24)]
    config = Config(models=str(tmp_path), epochs=1, noisy_copies=0, max_tokens=16, feed_forward_share=0.5)
    made, tokenizer, _ = fit.train(rows, LABELS, base, config, tmp_path / "run", rows[:6])
    classifier = exported(made, tokenizer, tmp_path / "bundle")
    parity = export.check_parity(made, tokenizer, classifier, TEXTS)
    assert parity.largest_difference < 0.1
    several = [f"{text} {i}" for i in range(9) for text in TEXTS]
    assert classifier.predict_many(several) == [classifier.predict(text) for text in several]
