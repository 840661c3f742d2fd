"""Champion, anchor and challenger on the same held-out rows: what the gate decides on is measured here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference.classifier import Classifier
from training.data.rows import Row
from training.evaluation.scored import Scored, Served, score, serve
from training.lifecycle.gate import Pairs, Verdict, judge
from training.lifecycle.window import Sample

TIMED = 500  # rows at most


@dataclass(frozen=True)
class Opponent:
    """A version that a challenger is compared with. `renamed` maps its intents to today's, where they differ."""

    classifier: Classifier
    renamed: Mapping[str, str] | None = None

    def answers(self, rows: Sequence[Row]) -> Scored:
        """The rows with what its student says of them. An intent that it does not know by this name is no index."""
        known = [row if row.label in self.classifier.labels else replace(row, label="") for row in rows]
        return replace(score(self.classifier, known), rows=tuple(rows))

    def right(self, scored: Scored) -> np.ndarray:
        """Row by row whether its intent, by its name of today, is the reference."""
        names = self.renamed or {}
        said = [names.get(scored.labels[i], scored.labels[i]) for i in scored.predicted]
        return np.array([name == row.label for name, row in zip(said, scored.rows, strict=True)], bool)


def compare(
    champion: Opponent | None,
    challenger: Classifier,
    rows: Sequence[Row],
    target: float,
    base: Sequence[Row] = (),
    anchor: tuple[Opponent, float] | None = None,
    promised: Sequence[Row] = (),
) -> Verdict:
    """The gate's verdict on a challenger, where certificates at `target` count; a method of none of the three changes.

    `rows` are what decides, `base` further rows where these are requests, `anchor` the best version so far with the
    level of its test, `promised` the rows that the champion's promise is of, where these are not `rows`. Rows of an
    intent that the challenger does not know are left out.
    """
    challenger = at(challenger, target)
    certified = challenger.certificate is not None and challenger.certificate.accept_above is not None
    if champion is None:
        return judge(None, certified, target)
    rows, base = (_known(some, challenger) for some in (rows, base))
    size = len(challenger.bundle.model) / len(champion.classifier.bundle.model)
    none = np.zeros(0, bool)
    if not rows:
        return judge(Pairs([], none, none), certified, target, size_ratio=size)
    old, new = champion.answers(rows), score(challenger, rows)
    own, changed = champion.classifier.bundle.taxonomy.targets, _changed(champion.classifier, challenger)
    accepted = _served(champion, old, target), serve(challenger, new)
    kept = accepted[0] if not promised else _served(champion, champion.answers(promised), target)
    return judge(
        Pairs([row.label for row in rows], champion.right(old), new.correct),
        certified,
        target,
        latency_ratio=latency_ratio(champion.classifier, challenger, [row.text for row in rows[:TIMED]]),
        size_ratio=size,
        accepted=(accepted[0].beside(changed), accepted[1].beside(changed)),
        base=_pairs(champion, challenger, base),
        anchor=None if anchor is None else (_anchor_right(anchor[0], champion, old), anchor[1]),
        promised=kept.beside(own),
    )


def _changed(champion: Classifier, challenger: Classifier) -> set[str]:
    """The intents whose own target has changed: they are to be accepted more, or less."""
    before, now = (one.bundle.taxonomy.targets for one in (champion, challenger))
    return {intent for intent, _ in before.items() ^ now.items()}


def _anchor_right(anchor: Opponent, champion: Opponent, scored: Scored) -> np.ndarray:
    # The best version is the serving one more often than not, whose answers are known.
    known = anchor.classifier is champion.classifier
    return anchor.right(scored if known else anchor.answers(scored.rows))


def _known(rows: Sequence[Row], challenger: Classifier) -> list[Row]:
    # A refused request has no reference: neither of two answers to it is better.
    return [row for row in rows if row.label in challenger.labels]


def _served(champion: Opponent, scored: Scored, target: float) -> Served:
    found = serve(at(champion.classifier, target), scored)
    if not champion.renamed:
        return found
    said = [champion.renamed.get(intent, intent) for intent in found.intents]
    right = [name == row.label for name, row in zip(said, scored.rows, strict=True)]
    return replace(found, correct=np.array(right, bool))


def _pairs(champion: Opponent, challenger: Classifier, rows: Sequence[Row]) -> Pairs | None:
    if not rows:
        return None
    labels = [row.label for row in rows]
    return Pairs(labels, champion.right(champion.answers(rows)), score(challenger, rows).correct)


def latency_ratio(champion: Classifier, challenger: Classifier, texts: Sequence[str]) -> float:
    """The challenger's median time for a text over the champion's.

    They take turns, text by text: a machine that is busy for a while slows both, and not one of them.
    """
    sides, seconds = (champion, challenger), np.zeros((len(texts), 2))
    for i, text in enumerate(texts):
        for side in (i % 2, 1 - i % 2):
            start = time.perf_counter()
            sides[side].probabilities(text)
            seconds[i, side] = time.perf_counter() - start
    old, new = np.median(seconds, axis=0)
    return float(new / old)


def at(classifier: Classifier, target: float) -> Classifier:
    """The classifier at `target`; one that has no such certificate accepts nothing."""
    manifest = classifier.bundle.manifest
    kept = tuple(certificate for certificate in manifest.certificates if certificate.target == target)
    return classifier.at(target, replace(manifest, certificates=kept))


def worst_case(challenger: Classifier, sample: Sample) -> dict[str, float]:
    """What the certificate's agreement would be at worst, had every unanswered request been answered otherwise.

    In per cent, beside the agreement that was seen; nothing where nothing is certified.
    """
    found = challenger.certificate
    if found is None or found.agreement is None:
        return {}
    holes = [row for row in sample.holes if row.split == "calibration"]
    accepted = sum(challenger.predict(row.text).accepted for row in holes)
    worst = found.agreement * found.accepted / (found.accepted + accepted)
    return {
        "% agreement among accepted calibration requests": round(100 * found.agreement, 1),
        "% at worst, with unanswered requests as errors": round(100 * worst, 1),
    }
