"""The local tier of a cascade: the serving bundle, and what the policy's strategy lets it answer."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from inference.bundle.redact import Redactor, other_redaction
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
    """A loaded bundle under a policy. Immutable: a newer bundle is another Tier.

    The strategy "local-first" answers what the classifier accepts. "hybrid" answers by the rules whose measured
    confidence has earned it without a certificate, "tiered" nothing: in both the student is only a guess.
    """

    def __init__(self, path: Path, policy: Policy, redactor: Redactor | None) -> None:
        self.classifier = Classifier.load(path, policy.target, policy.threads, redactor)
        bundle = self.classifier.bundle
        # The application answers for a redactor of its own; the built-in one changes with its versions.
        self.other_redaction = "" if redactor else other_redaction(bundle.manifest.redactor)
        if self.other_redaction:
            logging.getLogger("monoku.serving").warning("%s: %s", bundle.root.name, self.other_redaction)
        self.bundle_id = bundle.manifest.bundle_id
        # What a cached answer must hold for: the bundle, and the time up to which it learned from corrections.
        self.serving = self.bundle_id, float(bundle.manifest.lineage.get("live_until") or 0.0)
        self.taxonomy = bundle.taxonomy
        # A bundle that was made from the taxonomy alone only guesses: it is day zero still.
        self.answers = not set(bundle.taxonomy.names) <= set(bundle.manifest.never_accepted)
        self.local_first = policy.strategy == "local-first"
        self.rules = Rules.earned(self.taxonomy, bundle.manifest.rules if policy.strategy == "hybrid" else ())

    def limited(self, target: float | None) -> Tier:
        """The same, accepting only what the certificate for `target` covers, or nothing where there is none.

        Answers that were cached without that limit do not hold for it, nor the other way round.
        """
        found, bundle_id = copy.copy(self), f"{self.bundle_id} at {target}"
        manifest = self.classifier.bundle.manifest
        if target not in [certificate.target for certificate in manifest.certificates]:
            manifest, target = replace(manifest, certificates=(), intents=()), manifest.target
        found.classifier = self.classifier.at(target or manifest.target, manifest)
        found.serving = bundle_id, self.serving[1]
        return found

    def guess(self, text: str) -> Guess:
        """The answer of a rule or of the student, or the student's guess. `text` is redacted."""
        if self.local_first:
            found = self.classifier.predict(text)
            return Guess(found.intent, found.confidence, found.accepted, found.source if found.accepted else "fallback")
        rule = self.rules.match(text)
        if rule is not None:
            return Guess(rule.intent, self.rules.confidence[rule.name], True, "rules")
        return Guess(*self.classifier.best_guess(text), False, "fallback")
