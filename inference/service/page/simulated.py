"""A made-up history of two weeks, to show the page before there is any traffic. It is called simulated wherever shown.

Most days go well; on the ninth traffic changes, answers break their promise and it is suspended, until on the eleventh
a refresh mends it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path

from inference.bundle.manifest import Bundle
from inference.bundle.taxonomy import Taxonomy
from inference.log.counts import HOUR_S, Tally
from inference.log.database import Store
from inference.log.marks import BY_BUNDLE, KIND, Alarm, End
from inference.log.rows import Count, Decision, Row, TeacherAnswer

DAYS, PER_DAY, SAMPLED, CACHED = 14, 2400, 0.04, 0.55
BROKEN, MENDED = 8, 10  # days after the first
USD, TEACHER = 0.00018, "anthropic:claude-haiku-5-5"
LOCAL = (("rules", 0.06), ("exit", 0.16), ("student", 0.63))  # of what no cache answers; the rest is deferred
_MORE = ("", "please", "as soon as possible", "thanks", "again", "since yesterday", "for my team", "??")


def simulate(path: Path, bundle: Bundle, now: float, per_day: int = PER_DAY) -> None:
    """Write the history that ends `now` into a new log at `path`, for the intents of a bundle."""
    made = _History(bundle.taxonomy, bundle.manifest.bundle_id, bundle.manifest.target, now, per_day)
    rows: list[Row] = list(made.rows())
    store = Store(path)
    try:
        store.write([*rows, *made.tally.take(), *made.marks()])
    finally:
        store.close()


class _History:
    def __init__(self, taxonomy: Taxonomy, bundle_id: str, target: float, now: float, per_day: int) -> None:
        self._draw, self._taxonomy, self._bundle_id, self._target = random.Random(0), taxonomy, bundle_id, target
        self._question, self._per_day = taxonomy.question_id(), per_day
        self._first = now // HOUR_S * HOUR_S - (DAYS * 24 - 1) * HOUR_S
        self._now, self.tally = now, Tally()
        self._examples = [
            (intent.name, text) for intent in taxonomy.intents for text in intent.examples or (f"about {intent.name}",)
        ]

    def marks(self) -> list[Count]:
        """The promise broke, and a newer bundle mended it."""
        broke = self._first + (BROKEN + 0.9) * 86_400
        alarm = Alarm(broke, self._question, self._target, 0.99)
        end = End(self._first + MENDED * 86_400, self._question, BY_BUNDLE)
        return [Count(int(mark.time) // HOUR_S * HOUR_S, KIND, mark.key, 1, "simulated") for mark in (alarm, end)]

    def rows(self) -> Iterator[Decision | TeacherAnswer]:
        """Every request, counted; those of them that are logged, as rows."""
        for hour in range(DAYS * 24):
            busy = 1 + 0.7 * math.sin((hour % 24 - 9) / 24 * 2 * math.pi)
            for i in range(round(self._per_day / 24 * busy)):
                time = min(self._now - 1, self._first + hour * HOUR_S + self._draw.random() * HOUR_S)
                yield from self._request(f"simulated-{hour}-{i}", time)

    def _request(self, name: str, time: float) -> Iterator[Decision | TeacherAnswer]:
        draw, day = self._draw, (time - self._first) / 86_400
        drifted = BROKEN <= day < MENDED
        truth, text = draw.choice(self._examples)
        text = f"{text} {draw.choice(_MORE)}".strip()
        cached = draw.random() < CACHED - (0.1 if drifted else 0)
        source = self._source(cached, drifted)
        deferred, local = source == "teacher" and not cached, source in ("rules", "exit", "student")
        right = not local or draw.random() < (0.88 if drifted else 0.972)
        intent = truth if right else draw.choice([one for one in self._taxonomy.names if one != truth])
        confidence = round(min(0.999, draw.betavariate(18, 1.2) if local else draw.betavariate(3, 3)), 4)
        latency = draw.lognormvariate(*((-4.8, 0.3) if cached else (6.4, 0.35) if deferred else (-0.6, 0.5)))
        accepted, sampled = source != "fallback", draw.random() < SAMPLED
        own = (intent, confidence)
        nano = round(USD * 1e9) if deferred else 0
        hour = int(time) // HOUR_S
        self.tally.past(hour, source, intent, cached, deferred, accepted, own, cached, latency, nano)
        if not (deferred or sampled or not accepted):
            return
        reason = None if accepted else "the breaker of the teacher is open"
        yield Decision(
            name, time, text, intent, confidence if local or not accepted else None, accepted, source, cached,
            deferred, sampled, self._bundle_id, latency, reason, None, 0.5, SAMPLED, "simulated", "", self._question,
        )  # fmt: skip
        if deferred or sampled:
            label = None if draw.random() < 0.004 else truth
            yield TeacherAnswer(
                name, time, text, TEACHER, "", label, None if label else "it named no intent",
                {"input_tokens": 800, "output_tokens": 8}, USD, latency, sampled, self._question,
            )  # fmt: skip

    def _source(self, cached: bool, drifted: bool) -> str:
        chance = self._draw.random() * (1.25 if drifted else 1.0)
        for source, share in LOCAL:
            if chance < share:
                return source
            chance -= share
        return "fallback" if self._draw.random() < 0.03 and not cached else "teacher"
