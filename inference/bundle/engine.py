"""What runs a bundle: its tokenizer, its exit and its ONNX session. None of it survives a fork."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np

from inference.bundle.exit import Exit
from inference.bundle.manifest import Bundle, BundleError
from inference.bundle.tokens import Tokens
from inference.common.fork import Hold

# onnxruntime 1.32 starts a telemetry thread as it is imported, unless this is set by then: a forked child that exits
# waits for that thread for ever. `disable_telemetry_events()` is too late: the thread runs already.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

BATCHES = "monoku.batches"  # in the metadata of a model.onnx whose answers do not depend on the batch, to the last bit
TOKENS_AT_ONCE = 256  # of a batch: from some 64 on more make nothing faster (docs/LOG.md)


class Engine:
    """The tokenizer, the exit where there is one, and the ONNX session. Raises BundleError if one cannot be loaded."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.ids = _tokens(bundle).ids
        self.exit = _exit(bundle)
        try:
            self.session = open_session(bundle.model, threads)
        except Exception as error:  # onnxruntime's exceptions share no base class but this one
            raise BundleError(f"{bundle.root}: model.onnx cannot be loaded: {error}") from error
        _check_inputs(bundle, self.session)
        # How several threads share a batch may change the last bit.
        batches = threads == 1 and self.session.get_modelmeta().custom_metadata_map.get(BATCHES) == "1"
        self._tokens_at_once = TOKENS_AT_ONCE if batches else 1
        self._hold = Hold(self.session)  # its destructor joins threads that a child does not have
        width = self.session.get_outputs()[0].shape[-1]
        if width != len(bundle.manifest.labels):
            raise BundleError(f"{bundle.root}: the model has {width} outputs for {len(bundle.manifest.labels)} labels")

    def logits(self, ids: list[int]) -> np.ndarray:
        """The student's logits: float32, shape (labels,)."""
        return np.asarray(self.session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0][0])

    def logits_of_many(self, texts: Sequence[list[int]]) -> np.ndarray:
        """The same of several texts: float32, shape (texts, labels)."""
        return in_batches(self.session, texts, self._tokens_at_once)


def in_batches(session: ort.InferenceSession, texts: Sequence[Sequence[int]], most: int = TOKENS_AT_ONCE) -> np.ndarray:
    """What a session says of token ids, in batches of one length and `most` tokens, or one text: (texts, labels)."""
    logits = np.empty((len(texts), session.get_outputs()[0].shape[-1]), np.float32)
    for places in of_equal_length(texts, most):
        logits[places] = session.run(None, {"input_ids": np.array([texts[i] for i in places], dtype=np.int64)})[0]
    return logits


def of_equal_length(texts: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """The places of texts of one length, which need no padding: at most `most` tokens at a time, or one text."""
    by_length: dict[int, list[int]] = {}
    for place, ids in enumerate(texts):
        by_length.setdefault(len(ids), []).append(place)
    for length, places in by_length.items():
        size = max(1, most // max(1, length))
        for begin in range(0, len(places), size):
            yield places[begin : begin + size]


def open_session(model: bytes, threads: int = 1) -> ort.InferenceSession:
    """A session of an ONNX model as it is served. Raises what onnxruntime does where the model is invalid."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits would take a core from the application that embeds the classifier.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Fusing skip connections with normalisation makes the CPU slower, by a tenth of the whole answer (docs/LOG.md).
    disabled = ["SkipLayerNormFusion"]
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)


def _check_inputs(bundle: Bundle, session: ort.InferenceSession) -> None:
    inputs = [item.name for item in session.get_inputs()]
    if inputs != ["input_ids"]:
        raise BundleError(f"{bundle.root}: model.onnx takes {inputs}, expected ['input_ids']")


def _tokens(bundle: Bundle) -> Tokens:
    try:
        return Tokens(bundle.tokenizer, bundle.manifest.max_tokens)
    except Exception as error:  # the library raises plain Exception
        raise BundleError(f"{bundle.root}: tokenizer.json cannot be loaded: {error}") from error


def _exit(bundle: Bundle) -> Exit | None:
    if bundle.exit is None:
        return None
    try:
        return Exit.from_bytes(bundle.exit, len(bundle.manifest.labels))
    except ValueError as error:
        raise BundleError(f"{bundle.root}: exit.npz cannot be loaded: {error}") from error
