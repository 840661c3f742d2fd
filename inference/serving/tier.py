"""The local tier of a cascade: the serving bundle's rules and student, and the watch for a newer bundle."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from inference.bundle.redact import Redactor
from inference.bundle.rules import Rules
from inference.classifier import Classifier
from inference.serving.policy import Policy


class Guess(NamedTuple):
    """What the local side says of a query. `accepted`: it may be answered with this."""

    intent: str | None
    confidence: float | None
    accepted: bool
    source: str
    cached: bool = False


NO_GUESS = Guess(None, None, False, "fallback")


class Tier:
    """A loaded bundle, with the rules that the policy lets answer. Immutable: a newer bundle is another Tier."""

    def __init__(self, path: Path, policy: Policy, redactor: Redactor | None) -> None:
        self.classifier = Classifier.load(path, policy.target, policy.threads, redactor)
        bundle = self.classifier.bundle
        self.bundle_id = bundle.manifest.bundle_id
        self.taxonomy = bundle.taxonomy
        self.rules = _rules(self.classifier, policy)
        self.student_answers = policy.strategy == "local-first"

    def guess(self, text: str) -> Guess:
        """The rule that fires, else the student. `text` is redacted."""
        rule = self.rules.match(text)
        if rule is not None:
            return Guess(rule.intent, self.rules.confidence[rule.name], True, "rules")
        prediction = self.classifier.predict(text)
        accepted = prediction.accepted and self.student_answers
        return Guess(prediction.intent, prediction.confidence, accepted, "student" if accepted else "fallback")


def _rules(classifier: Classifier, policy: Policy) -> Rules:
    taxonomy, measured = classifier.bundle.taxonomy, classifier.bundle.manifest.rules
    if policy.strategy == "hybrid":
        return Rules.earned(taxonomy, measured)
    certified = classifier.certificate is not None and classifier.certificate.accept_above is not None
    if policy.strategy == "local-first" and certified:
        return Rules.for_target(taxonomy, measured, policy.target)
    return Rules(())
