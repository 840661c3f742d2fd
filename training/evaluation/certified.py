"""The certificates of a draft: pooled ones by target, and one for each intent with a target of its own.

First dev alone says which part answers what: the rules by their measured confidence, the exit by its thresholds. From
then on this is fixed, whichever test passes, so that each test is about the answers that are served.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from inference.bundle.manifest import SCHEMA, Certificate, IntentCertificate, Manifest
from inference.bundle.taxonomy import Taxonomy
from training.data.sizes import Goal, equal_part
from training.evaluation.certificate import (
    RULES_ALONE,
    certify,
    certify_intent,
    delta_shares,
    lacking,
    thresholds_to_test,
)
from training.evaluation.exits import EarlyAnswers, exit_threshold
from training.evaluation.scored import Served

Serve = Callable[[Manifest, float], Served]  # what rows are answered under a manifest, at one of its targets
Judging = Sequence[Served]  # dev and calibration, as they are answered


def strictest(manifest: Manifest, taxonomy: Taxonomy, delta: float) -> Manifest:
    """The manifest with certificates that accept what rules answer alone, each with its share of `delta`."""
    own = taxonomy.targets
    pooled = delta_shares(Goal(manifest.target, delta).beside(len(own)).delta, manifest.target)
    intents = tuple(
        IntentCertificate(target, equal_part(delta, len(own)), RULES_ALONE, intent=name) for name, target in own.items()
    )
    certificates = tuple(Certificate(target, share, RULES_ALONE) for target, share in pooled.items())
    found = replace(manifest, certificates=certificates, intents=intents)
    return replace(found, schema=SCHEMA) if own else found


def uncertified(manifest: Manifest) -> Manifest:
    """The manifest where there is nothing to certify anything on."""
    none = tuple(Certificate(one.target, 0.0, None) for one in manifest.certificates)
    share = equal_part(Goal().delta, len(manifest.intents))
    intents = tuple(
        replace(one, accept_above=None, delta=0.0, lacks=lacking(0, 0, one.target, share)) for one in manifest.intents
    )
    return replace(manifest, certificates=none, intents=intents)


def with_exits(manifest: Manifest, early: EarlyAnswers, dev: Serve) -> Manifest:
    """The manifest with the exit's thresholds from dev, one for each intent's own target and each pooled one."""
    if manifest.intents:
        served = dev(manifest, manifest.target)
        intents = tuple(replace(one, exit_above=_exit_of_intent(early, served, one)) for one in manifest.intents)
        manifest, early = replace(manifest, intents=intents), early.beside([one.intent for one in intents])
    found = []
    for one in manifest.certificates:
        alone = dev(manifest, one.target)
        found.append(replace(one, exit_above=exit_threshold(early, alone.scores, alone.correct, one.target)))
    return replace(manifest, certificates=tuple(found))


def _exit_of_intent(early: EarlyAnswers, served: Served, own: IntentCertificate) -> float | None:
    rows = early.naming(own.intent)
    return exit_threshold(early.of(rows), served.scores[rows], served.correct[rows], own.target)


def certified(manifest: Manifest, *parts: Serve) -> Manifest:
    """The manifest with the certificates in place of its strictest ones. The two `parts` are dev and calibration."""
    judging = {one.target: [part(manifest, one.target) for part in parts] for one in manifest.certificates}
    found = tuple(_pooled(one, judging[one.target], manifest) for one in manifest.certificates)
    if not manifest.intents:
        return replace(manifest, certificates=found)
    # Whichever certificate is chosen when the bundle is loaded, and where that one does not exist.
    nothing = [part(replace(manifest, certificates=()), manifest.target) for part in parts]
    ways = [judging.pop(manifest.target), *judging.values(), nothing]
    return replace(manifest, certificates=found, intents=tuple(_own(one, ways) for one in manifest.intents))


def _pooled(strictest: Certificate, judging: Judging, manifest: Manifest) -> Certificate:
    order, sample = (part.beside([one.intent for one in manifest.intents]) for part in judging)
    thresholds = thresholds_to_test(order.scores, order.correct, strictest.target)
    found = certify(thresholds, sample.scores, sample.correct, strictest.target, strictest.delta)
    return found if found.accept_above is None else replace(found, exit_above=strictest.exit_above)


def _own(strictest: IntentCertificate, ways: Sequence[Judging]) -> IntentCertificate:
    order = ways[0][0].naming([strictest.intent])
    samples = [calibration.naming([strictest.intent]) for _, calibration in ways]
    thresholds = thresholds_to_test(order.scores, order.correct, strictest.target)
    pairs = [(sample.scores, sample.correct) for sample in samples]
    found = certify_intent(strictest.intent, thresholds, pairs, strictest.target, strictest.delta)
    return replace(found, exit_above=strictest.exit_above)
