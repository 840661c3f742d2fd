"""How long the decision log waits, and how much it does at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of one log, in seconds and in rows.

    A write waits `locked_s` for another's lock; a server that answers nothing for `hung_s` is given up. After a failure
    the next attempt comes `first_pause_s` later, and after each further one in twice the time, up to `longest_pause_s`.
    """

    locked_s: float = 2.0
    hung_s: float = 5.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    purged_at_once: int = 5000


USUAL = Limits()
