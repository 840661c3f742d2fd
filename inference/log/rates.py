"""The sample's rate where it sets itself: high while there is much to learn, lower once little is, within a budget.

It is the highest step at which the sample's calls of a day stay within the budget, by the traffic of the last day; one
step less once the confidence sequence of the serving bundle's agreement is narrow, nothing is suspended and nothing is
suspicious. So it depends on earlier answers alone, never on the request that is drawn for. All processes on a log
follow the newest choice, which is a count of the log; each choice begins an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from inference.log.counts import DAY_S, HOUR_S
from inference.log.detector import LIMIT
from inference.log.reader import Reader
from inference.log.rows import Count
from inference.log.sequence import interval

KIND = "sample_rate"
# Few, since requests of several rates calibrate only after they are thinned to one of them.
STEPS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FIRST = 0.01  # until the traffic is known
NARROW = 0.04
SUSPICIOUS = LIMIT / 100
SURE = "sure"
WHY = {
    "first": "traffic is not known yet",
    "uncertified": "nothing is certified yet",
    "unsure": f"the serving bundle's agreement is not known within {100 * NARROW:g} points yet",
    "suspended": "the promise is suspended",
    "suspicious": "audited answers are suspicious",
    SURE: f"the serving bundle's agreement is known within {100 * NARROW:g} points",
}


class Choice(NamedTuple):
    """From `time` on the sample of a question has this rate; `why` is a key of WHY."""

    time: float
    question: str
    rate: float
    why: str

    @property
    def key(self) -> str:
        """As the log keeps it."""
        return f"{self.time!r} {self.question[:16]} {self.rate!r} {self.why}"

    @property
    def epoch(self) -> str:
        """The name of the time for which it holds."""
        return f"auto {self.rate:g} since {self.time:.0f}"


class Seen(NamedTuple):
    """What is known of the bundle that serves: how many of its audited answers agreed, its target, what speaks
    against it.
    """

    agreed: int
    asked: int
    target: float
    evidence: float
    suspended: bool

    @property
    def why(self) -> str:
        """What the rate should be for, a key of WHY."""
        if self.suspended:
            return "suspended"
        if self.evidence >= SUSPICIOUS:
            return "suspicious"
        low, high = interval(self.agreed, self.asked, self.target)
        return SURE if high - low <= NARROW else "unsure"


def rate_of(why: str, requests_a_day: float, calls_a_day: float) -> float:
    """The step for a reason, at so many requests and within so many calls a day; the lowest where none is."""
    within = [step for step in STEPS if step * requests_a_day <= calls_a_day] or [STEPS[0]]
    return within[-2] if why == SURE and len(within) > 1 else within[-1]


def change(now: Choice | None, why: str, requests_a_day: float, calls_a_day: float, time: float) -> float | None:
    """Another rate than that of the choice that holds, if it is time for one.

    At once where the budget is passed or there is something to find out, else no more than once a day.
    """
    rate = rate_of(why, requests_a_day, calls_a_day)
    if now is None or rate == now.rate:
        return rate if now is None else None
    passed = now.rate * requests_a_day > calls_a_day
    alert = rate > now.rate and now.why == SURE and why != SURE
    return rate if passed or alert or time - now.time >= DAY_S else None


def read_choices(counts: Iterable[Count]) -> set[Choice]:
    """The choices among counts. What a later version may have written is passed over."""
    found: set[Choice] = set()
    for count in counts:
        match count.key.split(" ") if count.kind == KIND else ():
            case [time, question, rate, why]:
                found.add(Choice(float(time), question, float(rate), why))
    return found


def newest(choices: Iterable[Choice], question: str) -> Choice | None:
    """The choice that holds for a question, None where there is none."""
    return max((one for one in choices if one.question[:16] == question[:16]), default=None)


class Rates:
    """Follows the choices in a log, and makes the next within `calls_a_day`; `note` writes it. For one thread."""

    def __init__(self, log: Reader, calls_a_day: float, note: Callable[[str, str], None]) -> None:
        self._log, self._calls_a_day, self._note = log, calls_a_day, note
        self._choices: set[Choice] = set()
        self._read_until = 0.0
        self._traffic: tuple[int, float | None] = (-1, None)

    def read(self, question: str, now: float) -> Choice | None:
        """The choice that holds. Raises LogError if the log cannot be read, as `look` does."""
        since = self._read_until // HOUR_S * HOUR_S - HOUR_S
        self._choices |= read_choices(self._log.read_counts(since, kind=KIND))
        self._read_until = now
        return newest(self._choices, question)

    def look(self, question: str, seen: Seen | None, now: float) -> Choice | None:
        """The choice that holds, a new one if it is time for one; `seen` is None where nothing is certified."""
        holds, requests_a_day = self.read(question, now), self._requests_a_day(now)
        if requests_a_day is None:
            return holds
        why = "uncertified" if seen is None else seen.why
        rate = change(holds, why, requests_a_day, self._calls_a_day, now)
        if rate is None:
            return holds
        # A clock that is ahead, or was, must not have its choice hold against all later ones.
        time = now if holds is None else max(now, holds.time + 1)
        holds = Choice(time, question[:16], rate, why)
        self._choices.add(holds)
        self._note(KIND, holds.key)
        return holds

    def _requests_a_day(self, now: float) -> float | None:
        """By the whole hours of the last day, the first one left out, which may be a part; None before there are any.

        Where the log's clock is young, of the hours that there are.
        """
        hour = int(now // HOUR_S)
        if self._traffic[0] != hour:
            counts = self._log.read_counts((hour - 25) * HOUR_S, hour * HOUR_S, "requests")
            hours = {count.hour // HOUR_S: count.n for count in counts}
            whole = hour - min(hours, default=hour) - 1
            n = sum(hours.values()) - hours.get(hour - whole - 1, 0)
            self._traffic = hour, n * 24 / whole if whole > 0 and n else None
        return self._traffic[1]
