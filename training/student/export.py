"""Export the student: ONNX by optimum, fused operators, int8 weights, and a parity check on the file that ships.

The file takes the `input_ids` of texts of one length, with neither padding nor mask. Its activation scales are fixed,
so what it says of a text does not depend on the others of a batch. A file that shows this is marked, and may then be
asked about several texts at once.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from optimum.exporters.onnx import export as export_onnx
from scipy.stats import binom
from torch import nn
from transformers import PreTrainedTokenizerFast

from inference.bundle.engine import BATCHES, TOKENS_AT_ONCE, in_batches, of_equal_length, open_session
from inference.bundle.manifest import MODEL, TOKENIZER
from inference.classifier import Classifier
from inference.common.errors import MonokuError
from training.evaluation.scored import said_by_student
from training.student.model import BATCH_TOKENS, Student, onnx_recipe
from training.student.scales import fixed_scales

OPSET = 17
QUANTISED = ["MatMul", "Gather", "Attention", "EmbedLayerNormalization"]
# Of texts that are asked about together and one by one: short ones leave vectors of the processor full or not, and of
# long ones there is one for each size of a batch.
LENGTHS = (*range(1, 33), 40, 50, 64, 85, 128)
FUSED_AS_BERT = ("bert", "distilbert", "roberta")
# int8 flips labels where the student is undecided, and thresholds are certified on the int8 file itself: the check is
# there to stop an export that went wrong. So a flip counts only where torch was decided, and only a share of such flips
# that chance does not explain fails.
NEAR_TIE = 0.5  # between the logits of two labels
LEAST_AGREEMENT, CHANCE = 0.90, 1e-3


class ParityError(MonokuError):
    """The exported file does not answer as the trained model does."""


@dataclass(frozen=True)
class Parity:
    """How the shipped file compares with the torch model on the same texts."""

    texts: int
    agreement: float
    largest_difference: float


class _Served(nn.Module):
    """The student as it is served: ids in, logits out, every token real."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.config = student.config

    def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.student(input_ids)["logits"]}


def write_model(student: Student, tokenizer: PreTrainedTokenizerFast, folder: Path, texts: Sequence[str]) -> None:
    """Write model.onnx (int8) and tokenizer.json into `folder`; `texts` show how large activations are."""
    ids = tokenizer(list(texts), truncation=True)["input_ids"]
    draft, fused = folder / "draft.onnx", folder / "fused.onnx"
    student.eval()
    with _quiet():
        export_onnx(_Served(student), _onnx_config(student.config), draft, opset=OPSET)
        _fuse(draft, fused, student.config)
        _quantise(fused, folder / MODEL)
        model = fixed_scales(onnx.load(folder / MODEL), ids)
        onnx.save(marked(model, ids, tokenizer.model_max_length), folder / MODEL)
    for path in (draft, fused):
        path.unlink()
    tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporter warnings that users cannot act on."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _onnx_config(config: Any) -> Any:
    """optimum's export recipe for this architecture, with the student's own input and output."""
    recipe = onnx_recipe(config.model_type)

    class ServedConfig(type(recipe(config))):  # type: ignore[misc]
        @property
        def inputs(self) -> Mapping[str, Mapping[int, str]]:
            return {"input_ids": {0: "batch", 1: "tokens"}}

        @property
        def outputs(self) -> Mapping[str, Mapping[int, str]]:
            return {"logits": {0: "batch"}}

    return ServedConfig(config, task="feature-extraction")


def _fuse(source: Path, target: Path, config: Any) -> None:
    """Put onnxruntime's fused operators in place of attention, embedding and normalisation, where it has them."""
    if config.model_type not in FUSED_AS_BERT:
        source.replace(target)
        source.touch()
        return
    options = FusionOptions("bert")
    # onnxruntime's fused skip-and-normalise operator is twice as slow on a CPU as its two parts (docs/LOG.md).
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    options.enable_gelu_approximation = True
    heads, hidden = config.num_attention_heads, config.hidden_size
    model = optimize_model(str(source), "bert", heads, hidden, opt_level=1, optimization_options=options)
    for node in model.model.graph.node:
        if node.op_type == "Attention" and len(node.input) > 3:
            node.input[3] = ""  # the mask: with one text and no padding it is all ones
    model.prune_graph()
    model.save_model_to_file(str(target))


def _quantise(source: Path, target: Path) -> None:
    """Weights to int8 per output channel; activations are still quantised as a text runs.

    `reduce_range` keeps weights to 7 bits: without VNNI the CPU adds pairs of products in 16 bits, and 8-bit weights
    would saturate there, so that the same file would answer differently on another machine.
    """
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
    )


def marked(model: onnx.ModelProto, ids: Sequence[Sequence[int]], most: int) -> onnx.ModelProto:
    """The model, marked if what it says of texts is the same, to the last bit, alone and in a batch.

    The texts have LENGTHS up to `most` tokens, and each length fills a batch as it is served: so few texts in `ids`, of
    which their tokens are drawn at random, weaken nothing.
    """
    rng, tokens = np.random.default_rng(0), np.unique(np.concatenate([np.array(one, np.int64) for one in ids]))
    sizes = [(TOKENS_AT_ONCE // length, length) for length in LENGTHS if length <= most]
    drawn = [one for size in sizes for one in rng.choice(tokens, size).tolist()]
    session = open_session(model.SerializeToString())
    if np.array_equal(in_batches(session, drawn, 1), in_batches(session, drawn)):
        model.metadata_props.add(key=BATCHES, value="1")
    return model


def check_parity(
    student: Student, tokenizer: PreTrainedTokenizerFast, classifier: Classifier, texts: Sequence[str]
) -> Parity:
    """Compare the shipped file with the torch model, text by text, through `Classifier` at temperature 1.

    Raises ParityError as `compared` does.
    """
    ours = said_by_student(classifier, texts, "comparing")
    return compared(ours, torch_probabilities(student, tokenizer, texts))


def compared(ours: np.ndarray, theirs: np.ndarray) -> Parity:
    """How probabilities of the shipped file compare with torch's: arrays of shape (texts, labels).

    Raises ParityError if the file surely gives the same label, or one that is nearly as likely, to fewer than 90 % of
    what torch labels.
    """
    texts, close = len(ours), _share(ours, theirs, NEAR_TIE)
    if binom.cdf(round(close * texts), texts, LEAST_AGREEMENT) < CHANCE:
        raise ParityError(
            f"the exported file is broken: on {1 - close:.1%} of {texts} texts it gives another label than torch "
            f"is sure of, where {1 - LEAST_AGREEMENT:.0%} is the most that is expected: try another --base"
        )
    return Parity(texts, _share(ours, theirs, 0.0), float(np.abs(ours - theirs).max()))


def _share(ours: np.ndarray, theirs: np.ndarray, tie: float) -> float:
    """The share of texts whose label in `ours` is at most `tie` behind the first one of `theirs`, in logits."""
    logits = np.log(np.maximum(theirs, 1e-30))
    behind = logits.max(1) - logits[np.arange(len(logits)), ours.argmax(1)]
    return float((behind <= tie).mean())


@torch.no_grad()
def torch_probabilities(student: Student, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> np.ndarray:
    """What the torch model says: float32 probabilities, shape (texts, labels)."""
    student.eval()
    rows = tokenizer(list(texts), truncation=True)["input_ids"]
    out = np.empty((len(rows), len(student.labels)), dtype=np.float32)
    for places in of_equal_length(rows, BATCH_TOKENS):
        ids = torch.tensor([rows[i] for i in places])
        out[places] = student(ids)["logits"].softmax(-1).numpy()
    return out
