"""Forgetting a person's text wherever a cascade has put it."""

from __future__ import annotations

from inference.cache.shared import Cache, forget_shared
from inference.common.text import Forgotten
from inference.serving.recorder import Recorder
from inference.serving.refusals import Refusals


def forget(
    forgotten: Forgotten, cache: Cache | None, redis: str, recorder: Recorder, refusals: Refusals
) -> dict[str, int]:
    """Delete a text from caches, memory, log and spill files; how many entries or rows went, by place.

    Raises LogError or NoReply if a place could not be reached: the others are done, do it again.
    """
    refusals.forget(forgotten.texts)
    gone = {"memory": 0, "redis": 0, "remembered": recorder.forget(forgotten.as_typed)}
    try:
        # Redis first: what it knows, memory takes from it.
        gone["redis"] = forget_shared(redis, forgotten.texts) if redis and cache else 0
    finally:
        gone["memory"] = cache.memory.forget(forgotten) if cache else 0
        gone |= recorder.log.forget(forgotten) if recorder.log else {}
    return gone
