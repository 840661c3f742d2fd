"""How often teachers agree with what was answered locally: on the uniform sample, with what is missing of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference.log.decision_log import Decision, DecisionLog

LOCAL = ("rules", "exit", "student")


@dataclass
class Agreement:
    """How often a teacher agreed, of how many answers it gave."""

    agreed: int = 0
    asked: int = 0

    @property
    def share(self) -> float | None:
        return self.agreed / self.asked if self.asked else None


@dataclass(frozen=True)
class Sample:
    """The uniform sample, and of its accepted local answers how many a teacher agreed with, by intent.

    `by_bundle` counts those with a label by the bundle that answered, the first one first. `refused` have a teacher's
    refusal in place of a label; others may have nothing, for reasons of the time.
    """

    by_intent: Mapping[str, Agreement]
    size: int
    local: int
    refused: int
    asked_extra: int
    by_bundle: Mapping[str, int]

    @property
    def agreement(self) -> Agreement:
        """Of all intents together."""
        found = self.by_intent.values()
        return Agreement(sum(intent.agreed for intent in found), sum(intent.asked for intent in found))

    @classmethod
    def of_each(cls, log: DecisionLog, periods: Sequence[tuple[float, float]]) -> list[Sample]:
        """The sample of each period (since, until); the log is read once. Raises LogError."""
        since, until = min(start for start, _ in periods), max(end for _, end in periods)
        sampled = {row.id: row for row in log.read_sample(since, until)}
        labels: dict[str, str | None] = {}
        for answer in log.read_sampled_answers(since):  # some came after the period's end
            if answer.request_id in sampled and labels.get(answer.request_id) is None:
                labels[answer.request_id] = answer.label
        return [
            cls._of({name: row for name, row in sampled.items() if start <= row.time < end}, labels)
            for start, end in periods
        ]

    @classmethod
    def _of(cls, sampled: Mapping[str, Decision], known: Mapping[str, str | None]) -> Sample:
        labels = {name: known[name] for name in sampled if name in known}
        by_intent: dict[str, Agreement] = {}
        by_bundle: Counter[str] = Counter()
        local = [row for row in sampled.values() if row.accepted and row.source in LOCAL and row.intent is not None]
        refused = 0
        for row in local:
            label = labels.get(row.id)
            if label is not None:
                intent = by_intent.setdefault(row.intent or "", Agreement())
                intent.asked += 1
                intent.agreed += label == row.intent
                by_bundle[row.bundle_id or ""] += 1
            refused += row.id in labels and label is None
        asked_extra = sum(not sampled[name].deferred for name in labels)
        return cls(by_intent, len(sampled), len(local), refused, asked_extra, by_bundle)
