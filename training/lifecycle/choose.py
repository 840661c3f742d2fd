"""Which unlabelled queries are worth a teacher's answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tqdm import tqdm

from inference.classifier import Classifier


def choose(champion: Classifier | None, texts: Sequence[str], budget: int) -> list[str]:
    """The `budget` texts that the champion is least sure of, its intents taking turns so that none fills the budget.

    Without a champion the first `budget` by content hash, which is a random choice that stays the same.
    """
    if champion is None:
        return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())[:budget]
    waiting: dict[str, list[tuple[float, str]]] = {}
    for text in tqdm(texts, "choosing", unit="text", leave=False, disable=None):
        intent, confidence = champion.best_guess(text)
        waiting.setdefault(intent, []).append((confidence, text))
    queues = [sorted(found) for found in waiting.values()]
    chosen: list[str] = []
    while queues and len(chosen) < budget:
        queues.sort(key=lambda queue: queue[0][0])
        chosen += [queue.pop(0)[1] for queue in queues][: budget - len(chosen)]
        queues = [queue for queue in queues if queue]
    return chosen
