"""Which sampled requests judge a round: one question, one reference, one rate, no holes, the newest ones.

Every test on them is an exact binomial one, so they must be as requests drawn independently and at one rate. The rate
is fixed within an epoch. Requests of several rates are thinned to the lowest by the random number that each was sampled
with. A refusal depends on the text: it stays, as an error. An unanswered request depends on time alone (a cap, an
outage): its hour is cut out, answered requests included. So is an hour in which another teacher or prompt answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from inference.common.files import write_atomically
from training.data.looks import Look
from training.lifecycle.live import SHARES, UNANSWERED, LiveRow

HOUR_S = 3600.0
LIVE_LOOKS = "live_looks.json"  # not looks.json, which is kept with the model where the data's folder cannot keep it
RECENT = 100  # requests that say which labeler and prompt are the reference now
LARGEST_SHARE = 0.5  # of what is left of delta, that one look may spend


@dataclass(frozen=True)
class Requests:
    """Sampled requests, oldest first, as arrays of one length.

    Times in seconds, the rate and the random number of each, whether it was answered (a refusal is an answer), a code
    for who labelled it with which prompt, and whether it calibrates.
    """

    times: np.ndarray
    rates: np.ndarray
    numbers: np.ndarray
    answered: np.ndarray
    reference: np.ndarray
    calibrates: np.ndarray

    def of(self, mask: np.ndarray) -> Requests:
        """Those under a mask."""
        return Requests(*(getattr(self, one.name)[mask] for one in fields(self)))


def select(requests: Requests, window: int, least: int) -> dict[str, np.ndarray]:
    """Which requests judge, step by step: masks over all of them, the last one after every step.

    `window` is how many may calibrate at most, the newest ones; `least` how many are enough to calibrate.
    """
    kept = ~np.isin(requests.times // HOUR_S, requests.times[~requests.answered] // HOUR_S)
    steps = {"hours": kept}
    recent = requests.reference[kept][-RECENT:]
    if len(recent):
        # Who else answered may have been asked for the text: the first could not say, or it may be of a new intent.
        other = kept & (requests.reference != np.bincount(recent).argmax())
        kept = kept & ~np.isin(requests.times // HOUR_S, requests.times[other] // HOUR_S)
    steps["reference"] = kept
    some = requests.of(kept)
    kept = kept.copy()
    kept[kept] = thinned(some, choose_rate(some, least))
    steps["rate"] = kept
    calibrating = requests.times[kept & requests.calibrates]
    if len(calibrating) > window:
        kept = kept & (requests.times >= calibrating[-window])
    return {**steps, "window": kept}


def thinned(requests: Requests, rate: float) -> np.ndarray:
    """Which of the requests are a sample at `rate`, as a mask.

    While some requests are sampled at a lower rate, those at `rate` are of a part of the traffic: of one service on the
    log, for one. So the time from the first to the last of a lower rate is left out whole.
    """
    kept = (requests.rates >= rate) & (requests.numbers < rate)
    lower = requests.times[requests.rates < rate]
    return kept & ((requests.times < lower.min()) | (requests.times > lower.max())) if len(lower) else kept


def choose_rate(requests: Requests, least: int) -> float:
    """The rate to which requests are thinned. The time of a lower rate is left out whole.

    Of the rates that keep today's epoch, the one that keeps most for calibration; of all rates, where that leaves fewer
    than `least`. It depends on counts alone, never on an answer. 1 of no requests.
    """
    if not len(requests.rates):
        return 1.0
    kept = {
        rate: int((thinned(requests, rate) & requests.calibrates).sum()) for rate in np.unique(requests.rates).tolist()
    }
    today = {rate: n for rate, n in kept.items() if rate <= requests.rates[-1]}
    best = max(today, key=lambda rate: (today[rate], rate))
    return float(best if today[best] >= least else max(kept, key=lambda rate: (kept[rate], rate)))


@dataclass(frozen=True)
class Sample:
    """The requests that judge, oldest first; what was left out, and why."""

    rows: tuple[LiveRow, ...] = ()
    holes: tuple[LiveRow, ...] = ()
    hours: int = 0
    tally: dict[str, int] = field(default_factory=dict)

    def split(self, name: str) -> tuple[LiveRow, ...]:
        """The requests of one split."""
        return tuple(row for row in self.rows if row.split == name)

    @property
    def complete(self) -> bool:
        """Whether each split has a request with a label: of refusals alone there is no accuracy to report."""
        return {row.split for row in self.rows if row.label} == set(SHARES)


def sample(rows: Iterable[LiveRow], question: str, suspect: Sequence[int], window: int, least: int) -> Sample:
    """The requests of `question` that may judge, see `select`. Rounds in `suspect` neither gate nor certify.

    Their hours are cut out as those of unanswered requests are: a round may have asked about earlier requests again,
    about those of one intent alone for one.
    """
    every = [row for row in rows if row.request and row.split in SHARES and row.number is not None and row.rate]
    asked = sorted((row for row in every if row.question == question), key=lambda row: (row.time, row.request))
    requests = _arrays(asked)
    trusted = np.array([row.round not in suspect for row in asked], bool)
    masks = select(replace(requests, answered=requests.answered & trusted), window, least)
    counts = [len(every), len(asked), int(trusted.sum()), *(int(mask.sum()) for mask in masks.values())]
    tally = {what: before - after for what, (before, after) in zip(LEFT_OUT, pairwise(counts), strict=True)}
    holes = [row for row in asked if row.why == UNANSWERED and row.round not in suspect]
    tally[CUT] -= len(holes)
    return Sample(
        tuple(row for row, judges in zip(asked, masks["window"], strict=True) if judges),
        tuple(holes),
        len({row.time // HOUR_S for row in holes}),
        {what: n for what, n in tally.items() if n},
    )


CUT = "answered requests of cut hours"
OTHER = "requests of hours in which another teacher or prompt answered"
LEFT_OUT = (
    "requests of another question",
    "requests of suspect rounds",
    CUT,
    OTHER,
    "requests thinned to one rate",
    "requests older than the window",
)


def _arrays(rows: Sequence[LiveRow]) -> Requests:
    """The requests as arrays. A label that was mapped from another question has no prompt: it is of the newest one."""
    codes: dict[tuple[str, str], int] = {}
    prompts = {row.labeler: row.prompt_id for row in rows if row.prompt_id}  # the newest
    said = [(row.labeler, row.prompt_id or prompts.get(row.labeler, "")) for row in rows]
    reference = [codes.setdefault(one, len(codes)) for one in said]
    return Requests(
        np.array([row.time for row in rows], float),
        np.array([row.rate for row in rows], float),
        np.array([row.number for row in rows], float),
        np.array([row.why != UNANSWERED for row in rows], bool),
        np.array(reference, int),
        np.array([row.split == "calibration" for row in rows], bool),
    )


@dataclass(frozen=True)
class _Spent:
    model: str
    since: float
    until: float
    delta: float


class WindowLooks:
    """Counts the looks at the live sample's calibration rows, in the file `LIVE_LOOKS` with the model.

    In any stretch of one window's length, the looks at any one row spend at most delta together: a look spends a share
    of what is left of delta on the row of the window that was looked at most, 2·new / (new + window), at most a half,
    where `new` counts the rows that no look has seen. `times` are those of the calibration rows.
    """

    def __init__(self, file: Path, times: Sequence[float], window: int) -> None:
        self._file, self._times, self._window = file, np.asarray(times, dtype=float), window

    def spend(self, delta: float, model: str) -> Look:
        """Record a look by `model`, on disk before the rows are looked at. The same model again is no new look."""
        looks, since, until = self._read(), float(self._times.min()), float(self._times.max())
        place = next((i for i, look in enumerate(looks) if look.model == model), len(looks))
        if place < len(looks):
            earlier = looks[place]
            looks[place] = replace(earlier, since=min(since, earlier.since), until=max(until, earlier.until))
        else:
            past = [(look.since, look.until, look.delta) for look in looks]
            looks.append(_Spent(model, since, until, next_share(past, self._times, self._window, delta)))
        write_atomically(self._file, json.dumps([asdict(look) for look in looks], indent=0).encode())
        return Look(place + 1, looks[place].delta)

    def _read(self) -> list[_Spent]:
        if not self._file.is_file():
            return []
        try:
            return [_Spent(**look) for look in json.loads(self._file.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{self._file} is damaged ({error}); restore it from a backup: looks must count"
            ) from error


def next_share(looks: Iterable[tuple[float, float, float]], times: np.ndarray, window: int, delta: float) -> float:
    """What the next look at calibration rows of these `times` may spend; looks are (from, to, spent)."""
    past, rows = np.array([*looks], float).reshape(-1, 3), np.sort(times)
    begin, end = rows.searchsorted(past[:, 0], "left"), rows.searchsorted(past[:, 1], "right")
    # How what is spent, and how many looks there were, change from one row to the next.
    spent, looked = np.zeros(len(rows) + 1), np.zeros(len(rows) + 1, int)
    for place, sign in ((begin, 1), (end, -1)):
        np.add.at(spent, place, sign * past[:, 2])
        np.add.at(looked, place, sign)
    spent, new = spent.cumsum()[:-1], int((looked.cumsum()[:-1] == 0).sum())
    left = max(0.0, delta - float(spent.max(initial=0.0)))
    return left * min(LARGEST_SHARE, 2 * new / (new + window))
