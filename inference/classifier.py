"""The local classifier: text in, calibrated prediction out, in process, on a CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from inference.bundle.bounds import Bounds
from inference.bundle.engine import Engine
from inference.bundle.manifest import Bundle, BundleError, Certificate, Manifest
from inference.bundle.redact import Redactor, is_builtin, load_redactor, of_the_beginning
from inference.bundle.scores import largest, softmax
from inference.bundle.travel import fetch
from inference.common.fork import ProcessLocal, notice, register
from inference.common.places import is_url
from inference.common.reentrant import reentrant_lock

ALTERNATIVES = 3
# Texts longer than this many characters per token are cut before they are tokenized: only their start is read anyway.
MOST_CHARACTERS_PER_TOKEN = 32
# Placeholders shorten a text: so many times more of it is looked at before it is redacted.
READ_BEFORE_REDACTION = 4
AT_ONCE = 1024  # texts that the exit, and then the student, is asked about together


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the local tier says of one text.

    `source` is "rules" where one of the bundle's certified keyword rules fires, "exit" where its linear model of word
    pieces is sure enough that the student need not run, else "student". `confidence` is the precision measured for the
    rule, or the largest calibrated probability of the model that answers. `accepted` says that the bundle's certificate
    covers the answer; `alternatives` are that model's next likeliest intents with their probabilities, likeliest first,
    none where a rule answers.

    Examples:
        >>> found = Classifier.load("models/support").predict("undo the refund please")
        >>> found.intent if found.accepted else "ask somebody who knows"
        'payments'
    """

    intent: str
    confidence: float
    accepted: bool
    alternatives: tuple[tuple[str, float], ...]
    source: str = "student"


class Classifier(ProcessLocal):
    """A bundle, loaded: its certified rules answer first, then its exit where it has one, then its student.

    Safe to share between threads and across a fork; pickled, it opens in another process.

    An answer does not depend on its neighbours: `predict_many` equals `predict`, to the last bit.

    Examples:
        >>> classifier = Classifier.load("models/support")
        >>> [found.intent for found in classifier.predict_many(["undo the refund please", "undo the login please"])]
        ['payments', 'account']
    """

    def __init__(
        self,
        bundle: Bundle,
        target: float | None = None,
        threads: int = 1,
        redactor: Redactor | None = None,
        engine: Engine | None = None,
    ) -> None:
        if type(threads) is not int or threads < 1:
            raise ValueError(f"threads must be a whole number of at least 1, got {threads!r}")
        self.bundle = bundle
        self.labels = bundle.taxonomy.names
        self.threads = threads
        target = bundle.manifest.target if target is None else target
        self.certificate = _choose(bundle.manifest.certificates, target)
        bounds = Bounds.of(bundle, self.certificate)
        self._above, self._exit_above, self._barred = bounds.accept, bounds.exit, bounds.barred
        self._rules = bounds.rules(bundle, target)
        self._temperature = bundle.manifest.temperature
        self._most_characters = bundle.manifest.max_tokens * MOST_CHARACTERS_PER_TOKEN
        self.redact = redactor or _redactor(bundle)
        self._target, self._redactor = target, redactor
        self._lock = reentrant_lock()
        self._engine: Engine | None = engine or Engine(bundle, threads)
        register(self)

    @classmethod
    def load(
        cls,
        path: str | Path,
        target: float | None = None,
        threads: int = 1,
        redactor: Redactor | None = None,
    ) -> Classifier:
        """Load `models/<name>` (its serving version), one version's folder, or a URL of the former (extra `bulk`).

        `target` picks the certificate, by default the one that the bundle was trained for; `threads` is for the
        operators of one text. `redactor` is the custom function that the bundle was trained with, if any: a bundle
        names it, but does not make its loader import code. Several threads may call it at once.
        Raises BundleError if the bundle must not be served, ValueError if an argument is invalid.
        """
        return cls(Bundle.load(fetch(str(path)) if is_url(path) else path), target, threads, redactor)

    def at(self, target: float, manifest: Manifest | None = None) -> Classifier:
        """The same loaded model at another certificate's target, and under another manifest if one is given.

        That manifest must have the same labels and `max_tokens`. Raises ValueError if there is no such certificate.
        """
        bundle = self.bundle if manifest is None else replace(self.bundle, manifest=manifest)
        return Classifier(bundle, target, self.threads, self.redact, self._engine)

    def predict(self, text: str) -> Prediction:
        """Classify one text of any length. Raises TypeError if it is not a string."""
        redacted = self._redacted(text)
        found = self._by_rule(text, redacted)
        if found is not None:
            return found
        engine = self._engine or self._reopen()
        ids = self._ids(engine, redacted)
        return self._by_exit(engine, ids) or self._by_student(self._scores(engine, ids))

    def decide(self, text: str, probabilities: np.ndarray) -> Prediction:
        """What `predict` says of `text` where `probabilities(text)` is known: the student does not run again."""
        redacted = self._redacted(text)
        found = self._by_rule(text, redacted)
        if found is None and self._exit_above is not None:
            engine = self._engine or self._reopen()
            found = self._by_exit(engine, self._ids(engine, redacted))
        return found or self._by_student(probabilities)

    def best_guess(self, text: str) -> tuple[str, float]:
        """The student's likeliest intent and its probability, whatever a rule or the exit says."""
        scores = self.probabilities(text)
        best = int(scores.argmax())
        return self.labels[best], float(scores[best])

    def predict_many(self, texts: Iterable[str]) -> list[Prediction]:
        """Classify texts in order; each result is exactly that of `predict`, of a repeated text the same object."""
        given = _several(texts, "predict_many", "predict")
        redacted = {text: self._redacted(text) for text in given}
        found = {text: self._by_rule(text, one) for text, one in redacted.items()}
        left = [text for text, answer in found.items() if answer is None]
        engine = self._engine or self._reopen()
        for begin in range(0, len(left), AT_ONCE):
            some = left[begin : begin + AT_ONCE]
            ids = [self._ids(engine, redacted[text]) for text in some]
            found.update(zip(some, self._by_exits(engine, ids), strict=True))
            hard = {text: tokens for text, tokens in zip(some, ids, strict=True) if found[text] is None}
            scores = self._scores_of_many(engine, list(hard.values()))
            found.update(zip(hard, map(self._by_student, scores), strict=True))
        return [cast(Prediction, found[text]) for text in given]

    def probabilities(self, text: str) -> np.ndarray:
        """The student's calibrated probabilities of all intents in the order of `labels`: float64, shape (labels,).

        Neither the rules nor the exit have a part in them. Raises TypeError if `text` is not a string.
        """
        ids = self.tokens(text)
        return self._scores(self._engine or self._reopen(), ids)

    def probabilities_of_many(self, texts: Iterable[str]) -> np.ndarray:
        """The same of several texts, shape (texts, labels): each row exactly what `probabilities` says."""
        ids = [self.tokens(text) for text in _several(texts, "probabilities_of_many", "probabilities")]
        return self._scores_of_many(self._engine or self._reopen(), ids)

    def exit_probabilities(self, text: str) -> np.ndarray | None:
        """The same of the exit; None where the bundle has none, or `text` is too new to it."""
        ids = self.tokens(text)
        return _exit_scores(self._engine or self._reopen(), ids)

    def tokens(self, text: str) -> list[int]:
        """The token ids of `text` as the exit and the student read it: redacted, and cut where it is long."""
        redacted = self._redacted(text)
        return self._ids(self._engine or self._reopen(), redacted)

    def _ids(self, engine: Engine, redacted: str) -> list[int]:
        return engine.ids(redacted[: self._most_characters])

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
        accepted = rule.intent not in self._barred
        return Prediction(rule.intent, self._rules.confidence[rule.name], accepted, (), "rules")

    def _by_exit(self, engine: Engine, ids: list[int]) -> Prediction | None:
        if self._exit_above is None:
            return None
        scores = _exit_scores(engine, ids)
        return None if scores is None else self._if_sure(scores, self._exit_above)

    def _by_exits(self, engine: Engine, ids: list[list[int]]) -> Iterator[Prediction | None]:
        """The same of several texts, whose linear models are one product."""
        if self._exit_above is None or engine.exit is None:
            yield from (None for _ in ids)
            return
        for scores in softmax(engine.exit.logits_of_many(ids)):
            yield self._if_sure(scores, self._exit_above)

    def _if_sure(self, scores: np.ndarray, above: Sequence[float]) -> Prediction | None:
        best = int(scores.argmax())
        if not scores[best] > above[best]:  # of a text too new to the exit no score is a number
            return None
        found = self._ranked(scores, above, "exit")
        return found if found.intent not in self._barred else replace(found, accepted=False)

    def _by_student(self, scores: np.ndarray) -> Prediction:
        return self._ranked(scores, self._above, "student")

    def _ranked(self, scores: np.ndarray, above: Sequence[float], source: str) -> Prediction:
        order = largest(scores, ALTERNATIVES + 1)
        best = order[0]
        confidence = float(scores[best])
        ranked = tuple([(self.labels[i], float(scores[i])) for i in order[1:]])
        return Prediction(self.labels[best], confidence, confidence > above[best], ranked, source)

    def _scores(self, engine: Engine, ids: list[int]) -> np.ndarray:
        return softmax(engine.logits(ids).astype(np.float64) / self._temperature)

    def _scores_of_many(self, engine: Engine, ids: Sequence[list[int]]) -> np.ndarray:
        return softmax(engine.logits_of_many(ids).astype(np.float64) / self._temperature)

    def _reopen(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.bundle, self.threads)
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


def _several(texts: Iterable[str], name: str, of_one: str) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"{name} takes several texts; for one text call {of_one}")
    return list(texts)


def _exit_scores(engine: Engine, ids: list[int]) -> np.ndarray | None:
    logits = engine.exit.logits(ids) if engine.exit else None
    return None if logits is None else softmax(logits)


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
