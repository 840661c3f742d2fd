"""How sure each part of the local tier must be of each intent, at one certificate of a bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inference.bundle.manifest import Bundle, Certificate
from inference.bundle.rules import Rules
from inference.common.text import canonical


@dataclass(frozen=True)
class Bounds:
    """What an answer's probability must exceed, in the order of the labels; no probability exceeds infinity.

    `accept` is for the student's answer to be accepted, `exit` for the exit to answer at all (None: it is not asked),
    `barred` are the intents that are accepted from neither, nor from a rule. `own` are the intents' own targets where
    there are certificates for them; `pooled` says whether all other intents have one.
    """

    accept: tuple[float, ...]
    exit: tuple[float, ...] | None
    barred: frozenset[str]
    own: dict[str, float]
    pooled: bool

    @classmethod
    def of(cls, bundle: Bundle, certificate: Certificate | None) -> Bounds:
        """An intent with a target of its own has the bounds of its own certificate, or is not accepted without one."""
        names, never = bundle.taxonomy.names, frozenset(map(canonical, bundle.manifest.never_accepted))
        found: dict[str, Certificate | None] = dict.fromkeys(names, certificate)
        found |= dict.fromkeys(bundle.taxonomy.targets) | {one.intent: one for one in bundle.manifest.intents}
        own = {one.intent: one.target for one in bundle.manifest.intents}
        accept = {name: math.inf if name in never else _above(one) for name, one in found.items()}
        # Which part answers does not depend on whether an intent's own test passed: the others' tests count on that.
        silent = never | {name for name, one in found.items() if name not in own and _above(one) == math.inf}
        exits = tuple(math.inf if name in silent else _exit_above(found[name]) for name in names)
        return cls(
            tuple(accept[name] for name in names),
            None if min(exits) == math.inf else exits,
            frozenset(name for name in names if accept[name] == math.inf),
            own,
            _above(certificate) < math.inf,
        )

    def rules(self, bundle: Bundle, target: float) -> Rules | None:
        """The rules that answer at a certificate's target; None where there are none, so that no text is read."""
        found = Rules.for_target(bundle.taxonomy, bundle.manifest.rules, target if self.pooled else math.inf, self.own)
        return found if len(found) else None


def _above(certificate: Certificate | None) -> float:
    return math.inf if certificate is None or certificate.accept_above is None else certificate.accept_above


def _exit_above(certificate: Certificate | None) -> float:
    return math.inf if certificate is None or certificate.exit_above is None else certificate.exit_above
