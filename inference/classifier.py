"""The local classifier: text in, calibrated prediction out, in process, on a CPU."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from inference.bundle.manifest import Bundle, BundleError, Certificate, Manifest
from inference.bundle.redact import Redactor, is_builtin, load_redactor, of_the_beginning
from inference.bundle.rules import Rules
from inference.common.fork import Hold, ProcessLocal, notice, register
from inference.common.text import canonical, repair

# onnxruntime 1.32 starts a telemetry thread as it is imported, unless this is set by then: a forked child that exits
# waits for that thread for ever. `disable_telemetry_events()` is too late: the thread runs already.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime as ort

ALTERNATIVES = 3
# Texts longer than this many characters per token are cut before they are tokenized: only their start is read anyway.
MOST_CHARACTERS_PER_TOKEN = 32
# Placeholders shorten a text: so many times more of it is looked at before it is redacted.
READ_BEFORE_REDACTION = 4


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the local tier says of one text.

    `source` is "rules" where one of the bundle's certified keyword rules fires, else "student". `confidence` is the
    precision measured for the rule, or the student's largest calibrated probability. `accepted` says that the bundle's
    certificate covers the answer; `alternatives` are the student's next likeliest intents with their probabilities,
    likeliest first, none where a rule answers.
    """

    intent: str
    confidence: float
    accepted: bool
    alternatives: tuple[tuple[str, float], ...]
    source: str = "student"


class Classifier(ProcessLocal):
    """A bundle, loaded: its certified rules answer first, then its student.

    Safe to share between threads and across a fork; pickled, it opens in another process.

    An answer does not depend on its neighbours: every text runs on its own, so `predict_many` equals `predict`.
    """

    def __init__(
        self,
        bundle: Bundle,
        target: float | None = None,
        threads: int = 1,
        redactor: Redactor | None = None,
        engine: _Engine | None = None,
    ) -> None:
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
        self.bundle = bundle
        self.labels = bundle.taxonomy.names
        self.threads = threads
        target = bundle.manifest.target if target is None else target
        self.certificate = _choose(bundle.manifest.certificates, target)
        # No threshold means that nothing is accepted: no probability exceeds infinity, and no rule is run.
        accept_above = self.certificate.accept_above if self.certificate else None
        self._accept_above = float("inf") if accept_above is None else accept_above
        self._rules = None if accept_above is None else _certified_rules(bundle, target)
        self._never = frozenset(map(canonical, bundle.manifest.never_accepted))
        self._temperature = bundle.manifest.temperature
        self._most_characters = bundle.manifest.max_tokens * MOST_CHARACTERS_PER_TOKEN
        self.redact = redactor or _redactor(bundle)
        self._target, self._redactor = target, redactor
        self._lock = threading.RLock()
        self._engine: _Engine | None = engine or _Engine(bundle, threads)
        register(self)

    @classmethod
    def load(
        cls,
        path: str | Path,
        target: float | None = None,
        threads: int = 1,
        redactor: Redactor | None = None,
    ) -> Classifier:
        """Load `models/<name>` (its serving version) or one version's folder.

        `target` picks the certificate, by default the one that the bundle was trained for; `threads` is for the
        operators of one text. `redactor` is the custom function that the bundle was trained with, if any: a bundle
        names it, but does not make its loader import code.
        Raises BundleError if the bundle must not be served, ValueError if an argument is invalid.
        """
        return cls(Bundle.load(path), target, threads, redactor)

    def at(self, target: float, manifest: Manifest | None = None) -> Classifier:
        """The same loaded model at another certificate's target, and under another manifest if one is given.

        That manifest must have the same labels and `max_tokens`. Raises ValueError if there is no such certificate.
        """
        bundle = self.bundle if manifest is None else replace(self.bundle, manifest=manifest)
        return Classifier(bundle, target, self.threads, self.redact, self._engine)

    def predict(self, text: str) -> Prediction:
        """Classify one text of any length. Raises TypeError if it is not a string."""
        redacted = self._redacted(text)
        return self._by_rule(text, redacted) or self._by_student(self._scores(redacted))

    def decide(self, text: str, probabilities: np.ndarray) -> Prediction:
        """What `predict` says of `text` where `probabilities(text)` is known: the student does not run again."""
        return self._by_rule(text, self._redacted(text)) or self._by_student(probabilities)

    def best_guess(self, text: str) -> tuple[str, float]:
        """The student's likeliest intent and its probability, whether a rule fires or not."""
        scores = self.probabilities(text)
        best = int(scores.argmax())
        return self.labels[best], float(scores[best])

    def predict_many(self, texts: Iterable[str]) -> list[Prediction]:
        """Classify texts in order; each result is exactly that of `predict`."""
        if isinstance(texts, str):
            raise TypeError("predict_many takes several texts; for one text call predict")
        return [self.predict(text) for text in texts]

    def probabilities(self, text: str) -> np.ndarray:
        """The student's calibrated probabilities of all intents in the order of `labels`: float64, shape (labels,).

        The rules have no part in them. Raises TypeError if `text` is not a string.
        """
        return self._scores(self._redacted(text))

    def _redacted(self, text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"a query must be a str, got {type(text).__name__}")
        notice()
        if len(text) > self._most_characters:
            text = " ".join(text.split())[: READ_BEFORE_REDACTION * self._most_characters]
        return self.redact(text)

    def _by_rule(self, text: str, redacted: str) -> Prediction | None:
        if self._rules is None:
            return None
        # A rule reads what it does in a cascade, which is more of a long text than the student reads.
        whole = redacted if len(text) <= self._most_characters else of_the_beginning(self.redact)(text)
        rule = self._rules.match(whole)
        if rule is None:
            return None
        accepted = rule.intent not in self._never
        return Prediction(rule.intent, self._rules.confidence[rule.name], accepted, (), "rules")

    def _by_student(self, scores: np.ndarray) -> Prediction:
        order = np.argsort(-scores, kind="stable")[: ALTERNATIVES + 1].tolist()
        confidence = float(scores[order[0]])
        intent, ranked = self.labels[order[0]], tuple([(self.labels[i], float(scores[i])) for i in order[1:]])
        accepted = confidence > self._accept_above and intent not in self._never
        return Prediction(intent, confidence, accepted, ranked)

    def _scores(self, redacted: str) -> np.ndarray:
        engine = self._engine or self._reopen()
        logits = engine.logits(redacted[: self._most_characters]).astype(np.float64) / self._temperature
        exponents = np.exp(logits - logits.max())
        return np.asarray(exponents / exponents.sum())

    def _reopen(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self.bundle, self.threads)
            return self._engine

    def after_fork(self) -> None:
        """Open the model anew at the next call: a child has none of its threads."""
        super().after_fork()
        self._engine = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.bundle, self._target, self.threads, self._redactor)


def _reopen(bundle: Bundle, target: float, threads: int, redactor: Redactor | None) -> Classifier:
    """A pickled classifier, from its folder where that is here and holds the same bundle, else from what travelled."""
    with contextlib.suppress(BundleError):
        found = Bundle.load(bundle.root)
        bundle = found if found.manifest.bundle_id == bundle.manifest.bundle_id else bundle
    return Classifier(bundle, target, threads, redactor)


class _Engine:
    """The tokenizer and the ONNX session: what does not survive a fork."""

    def __init__(self, bundle: Bundle, threads: int) -> None:
        self.tokenizer = _tokenizer(bundle)
        self.session = _session(bundle, threads)
        self._hold = Hold(self.session)  # its destructor joins threads that a child does not have
        width = self.session.get_outputs()[0].shape[-1]
        if width != len(bundle.manifest.labels):
            raise BundleError(f"{bundle.root}: the model has {width} outputs for {len(bundle.manifest.labels)} labels")

    def logits(self, text: str) -> np.ndarray:
        try:
            ids = self.tokenizer.encode(text).ids
        except TypeError:  # a lone surrogate is no Unicode text
            ids = self.tokenizer.encode(repair(text)).ids
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


def _redactor(bundle: Bundle) -> Redactor:
    name = bundle.manifest.redactor
    if not is_builtin(name):
        raise BundleError(
            f"{bundle.root} was trained with the custom redactor {name}: load it with redactor=that function"
        )
    return load_redactor(name)


def _choose(certificates: tuple[Certificate, ...], target: float) -> Certificate | None:
    """The certificate for `target`; None from a bundle that carries none, as before it is calibrated."""
    if not certificates:
        return None
    for certificate in certificates:
        if certificate.target == target:
            return certificate
    targets = ", ".join(f"{certificate.target:g}" for certificate in certificates)
    raise ValueError(f"no certificate for target {target!r}; the bundle has {targets}")


def _certified_rules(bundle: Bundle, target: float) -> Rules | None:
    """The rules that answer at a certificate's target; None where there are none, so that no text is read for them."""
    rules = Rules.for_target(bundle.taxonomy, bundle.manifest.rules, target)
    return rules if len(rules) else None
