"""What runs a bundle: its tokenizer, its exit and its ONNX session. None of it survives a fork."""

from __future__ import annotations

import os

import numpy as np
from tokenizers import Tokenizer

from inference.bundle.exit import Exit
from inference.bundle.manifest import Bundle, BundleError
from inference.common.fork import Hold
from inference.common.text import repair

# onnxruntime 1.32 starts a telemetry thread as it is imported, unless this is set by then: a forked child that exits
# waits for that thread for ever. `disable_telemetry_events()` is too late: the thread runs already.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort


class Engine:
    """The tokenizer, the exit where there is one, and the ONNX session. Raises BundleError if one cannot be loaded."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.tokenizer = _tokenizer(bundle)
        self.exit = _exit(bundle)
        self.session = _session(bundle, threads)
        self._hold = Hold(self.session)  # its destructor joins threads that a child does not have
        width = self.session.get_outputs()[0].shape[-1]
        if width != len(bundle.manifest.labels):
            raise BundleError(f"{bundle.root}: the model has {width} outputs for {len(bundle.manifest.labels)} labels")

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, as many as the student reads."""
        try:
            return list(self.tokenizer.encode(text).ids)
        except TypeError:  # a lone surrogate is no Unicode text
            return list(self.tokenizer.encode(repair(text)).ids)

    def logits(self, ids: list[int]) -> np.ndarray:
        """The student's logits: float32, shape (labels,)."""
        return np.asarray(self.session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0][0])


def _session(bundle: Bundle, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that spins while it waits would take a core from the application that embeds the classifier.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Fusing skip connections with normalisation makes the CPU slower, by a tenth of the whole answer (docs/LOG.md).
        session = ort.InferenceSession(
            bundle.model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["SkipLayerNormFusion"],
        )
    except Exception as error:  # onnxruntime's exceptions share no base class but this one
        raise BundleError(f"{bundle.root}: model.onnx cannot be loaded: {error}") from error
    inputs = [item.name for item in session.get_inputs()]
    if inputs != ["input_ids"]:
        raise BundleError(f"{bundle.root}: model.onnx takes {inputs}, expected ['input_ids']")
    return session


def _tokenizer(bundle: Bundle) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(bundle.tokenizer)
    except Exception as error:  # the library raises plain Exception
        raise BundleError(f"{bundle.root}: tokenizer.json cannot be loaded: {error}") from error
    # The file's own padding and truncation are its author's: all-MiniLM-L6-v2 pads every text to 128 tokens.
    tokenizer.no_padding()
    tokenizer.enable_truncation(bundle.manifest.max_tokens)
    return tokenizer


def _exit(bundle: Bundle) -> Exit | None:
    if bundle.exit is None:
        return None
    try:
        return Exit.from_bytes(bundle.exit, len(bundle.manifest.labels))
    except ValueError as error:
        raise BundleError(f"{bundle.root}: exit.npz cannot be loaded: {error}") from error
