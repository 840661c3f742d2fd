"""The uniform sample of requests: who belongs to it is drawn before anything else is known of a request."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from inference.common.fork import ProcessLocal, register
from inference.log.decision_log import DecisionLog, LogError
from inference.serving.policy import Policy

_log = logging.getLogger("monoku.log")
AT_ONCE = 256  # requests for which chance is fetched
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
        self._serving = (policy.sample_rate, f"serving {policy.sample_rate:g}")
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        """A child draws none of its parent's numbers again."""
        self._chances: list[bytes] = []

    def draw(self, text: str, caller_id: str | None, serving: bool) -> Draw:
        """Draw for a request, whose `caller_id` may be that of a whole conversation. `serving`: a bundle serves."""
        try:
            chance = self._chances.pop()
        except IndexError:
            # Asking the system once for many requests: one at a time it is a tenth of a cache hit.
            many = os.urandom(16 * AT_ONCE)
            self._chances.extend([many[place : place + 16] for place in range(16, 16 * AT_ONCE, 16)])
            chance = many[:16]
        drawn = chance[8:] if caller_id is None else self._drawn(text, caller_id)
        rate, epoch = self._serving if serving else self._day_zero
        return Draw(chance[:8].hex(), (int.from_bytes(drawn) >> 11) * _STEP, rate, epoch)

    def _drawn(self, text: str, caller_id: str) -> bytes:
        name = caller_id.encode("utf-8", "surrogatepass")
        found = self._keyed.copy()
        found.update(b"%d:%d:%b%b" % (self._now() // RETRY_S, len(name), name, text.encode("utf-8", "surrogatepass")))
        return found.digest()


def shared_secret(log: DecisionLog | None) -> bytes:
    """The secret of all processes on a log; one of this process where there is no log, or none that can be reached."""
    if log is not None:
        try:
            return log.secret()
        except LogError as error:
            _log.warning("requests are sampled with a secret of this process, for the log gives none: %s", error)
    return os.urandom(32)
