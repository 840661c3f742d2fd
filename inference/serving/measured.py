"""What is counted for metrics alone: answers by intent, and how long they took."""

from __future__ import annotations

import collections
from bisect import bisect_left
from typing import Any

from inference.serving.answer import Answer

# From a cache hit to a teacher's total limit; 200 ms is the target of the report's p95.
EDGES_MS = (
    0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0,
    30_000.0,
)  # fmt: skip


class Measured:
    """Counts of one process. Not safe between threads."""

    def __init__(self) -> None:
        self._intents: collections.Counter[tuple[str, str]] = collections.Counter()  # source, intent
        self._latency: dict[str, list[int]] = {}  # by source: answers in each bin, the last for all that took longer
        self._sum_ms: dict[str, float] = {}

    def count(self, answer: Answer) -> None:
        """Count one answer."""
        source, ms = answer.source, answer.latency_ms
        self._intents[source, answer.intent or ""] += 1
        bins = self._latency.get(source) or self._latency.setdefault(source, [0] * (len(EDGES_MS) + 1))
        bins[bisect_left(EDGES_MS, ms)] += 1
        self._sum_ms[source] = self._sum_ms.get(source, 0.0) + ms

    def figures(self) -> dict[str, Any]:
        """`intents`: answers by source, then by intent ("" where nothing could answer); `latency` by source."""
        intents: dict[str, dict[str, int]] = {}
        for (source, intent), n in list(self._intents.items()):
            intents.setdefault(source, {})[intent] = n
        latency = {
            source: {"bins": list(bins), "sum_ms": self._sum_ms.get(source, 0.0)}
            for source, bins in list(self._latency.items())
        }
        return {"intents": intents, "latency": latency}
