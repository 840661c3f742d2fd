"""The uniform sample of requests: who belongs to it is drawn before anything else is known of a request."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from inference.common.fork import ProcessLocal, register
from inference.log.decision_log import DecisionLog, LogError
from inference.serving.policy import AUTO, Policy

_log = logging.getLogger("monoku.log")
AT_ONCE = 256  # requests that are drawn for
_STEP = 2.0**-53  # between two numbers: a float has 53 bits
RETRY_S = 600.0  # within the same ten minutes, by the clock, a request that comes again is a retry


class Draw(NamedTuple):
    """What was drawn for one request: its row's id, a number in [0, 1), and the rate that the number is compared with.

    The rate is fixed within an epoch, whatever a query says.
    """

    row_id: str
    number: float
    rate: float
    epoch: str

    @property
    def sampled(self) -> bool:
        """Whether the request belongs to the sample."""
        return self.number < self.rate


class Sampler(ProcessLocal):
    """Draws for every request. One that comes again, with the same id and text, soon draws the same number.

    It does so in every process that has `secret`. Without it nobody can choose an id that is sampled, or is not. Only
    soon: an id may be a user's or a service's, whose requests with one text are as many requests.
    """

    def __init__(self, policy: Policy, secret: bytes, now: Callable[[], float] = time.time) -> None:
        self._keyed, self._now = hashlib.blake2b(digest_size=8, key=secret), now
        self._day_zero = (policy.day_zero_rate, f"day zero {policy.day_zero_rate:g}")
        rate = policy.first_sample_rate
        self._serving = (rate, f"{policy.sample_rate if policy.sample_rate == AUTO else 'serving'} {rate:g}")
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        """A child draws none of its parent's numbers again."""
        self._drawn_before: dict[bool, list[Draw]] = {True: [], False: []}

    def serve_at(self, rate: float, epoch: str) -> None:
        """From the next request on, draw at another rate while a bundle serves. May be called from another thread."""
        self._serving = (rate, epoch)
        self._drawn_before = {**self._drawn_before, True: []}  # in this order: who draws meanwhile fills the old list

    def draw(self, text: str, caller_id: str | None, serving: bool) -> Draw:
        """Draw for a request, whose `caller_id` may be that of a whole conversation. `serving`: a bundle serves."""
        waiting = self._drawn_before[serving]
        try:
            drawn = waiting.pop()
        except IndexError:
            # Many at once: one at a time, asking the system for chance is a tenth of a cache hit.
            drawn, *more = self._draws(*(self._serving if serving else self._day_zero))
            waiting.extend(more)
        return drawn if caller_id is None else drawn._replace(number=self._kept_number(text, caller_id))

    def anew(self, number: float) -> float:
        """Another number in [0, 1) for the request that drew `number`, the same in every process with the secret."""
        found = self._keyed.copy()
        found.update(struct.pack(">d", number))
        return (int.from_bytes(found.digest()) >> 11) * _STEP

    def _draws(self, rate: float, epoch: str) -> list[Draw]:
        ids = os.urandom(8 * AT_ONCE).hex()
        chance = struct.unpack(f">{AT_ONCE}Q", os.urandom(8 * AT_ONCE))
        return [Draw(ids[16 * i : 16 * i + 16], (n >> 11) * _STEP, rate, epoch) for i, n in enumerate(chance)]

    def _kept_number(self, text: str, caller_id: str) -> float:
        name = caller_id.encode("utf-8", "surrogatepass")
        found = self._keyed.copy()
        found.update(b"%d:%d:%b%b" % (self._now() // RETRY_S, len(name), name, text.encode("utf-8", "surrogatepass")))
        return (int.from_bytes(found.digest()) >> 11) * _STEP


def shared_secret(log: DecisionLog | None) -> bytes:
    """The secret of all processes on a log; one of this process where there is no log, or none that can be reached."""
    if log is not None:
        try:
            return log.secret()
        except LogError as error:
            _log.warning("requests are sampled with a secret of this process, for the log gives none: %s", error)
    return os.urandom(32)
