"""How a cascade decides: one frozen dataclass, from arguments, a TOML file and MONOKU_* variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference.common.settings import check_types, load, refuse_unknown, setting
from inference.log.rates import FIRST
from inference.money.ledger import MOST_USD

AUTO = "auto"

STRATEGIES = {
    "tiered": "the teacher answers everything",
    "hybrid": "rules right on over 80 % of dev, which nothing certifies, then the teacher",
    "local-first": "rules, the student where certified, then the teacher",
}
DEFERRALS = {
    "wait": "block up to the deadline: p95 is the teacher's once over 5 % of requests are deferred",
    "background": "answer at once with the marked guess; the teacher's answer serves the next identical query",
    "never": "answer with the marked guess",
}
BROKEN = {
    "tighten": "accept only what the loosest stricter certificate covers that nothing speaks against, else defer all",
    "defer": "defer all",
    "warn": "a warning, and nothing else changes",
}
STORES = {
    "require": "no start while the log or the ledger cannot be written, or Redis is a cluster or a replica",
    "warn": "a warning",
}


@dataclass(frozen=True)
class Policy:
    """Everything that may be set. Dollars are per UTC day and shared by all processes on one ledger.

    Examples:
        >>> Policy(deferral="background", daily_usd=2.0).daily_usd
        2.0
    """

    strategy: str = setting("local-first", f"who may answer: {', '.join(STRATEGIES)}")
    deferral: str = setting("wait", f"what a request does that needs a teacher: {', '.join(DEFERRALS)}")
    target: float | None = setting(
        None, "agreement that an accepted answer's certificate promises; none: the bundle's own"
    )
    deadline_s: float = setting(2.0, "seconds that `wait` blocks a caller at most")
    call_limit_s: float = setting(30.0, "seconds that one call to a teacher may take in all, its caller gone or not")
    max_teacher_rate: float = setting(
        1.0,
        "share of requests that may be deferred; the rest is answered uncertified; calls for the sample are outside",
    )
    sample_rate: float | str = setting(
        0.01,
        "share of all requests that the teacher labels too, to measure live agreement; auto: it sets itself",
        words=(AUTO,),
    )
    sample_calls_a_day: float = setting(100.0, "calls a day, on average, within which `auto` keeps the sample")
    day_zero_rate: float = setting(0.45, "the same while there is no bundle yet and a teacher answers everything")
    on_broken: str = setting("tighten", f"what follows once audited answers broke the promise: {', '.join(BROKEN)}")
    concurrency: int = setting(16, "calls to teachers at once")
    daily_usd: float | None = setting(None, "no call may take the day's spending over this; none: no limit")
    sample_share: float = setting(
        0.10, "share of daily_usd that is kept for the sample's calls, which may use all of it"
    )
    refusal_ttl_s: float = setting(
        300.0, "seconds for which a query that a teacher refused is not asked, and paid, again; 0: it always is"
    )
    cache_size: int = setting(50_000, "answers kept in the memory of this process")
    cache_ttl_s: float = setting(86_400.0, "seconds that a cached answer is used")
    redis: str = setting("", "redis:// URL of a cache shared by processes and machines", secret=True)
    redis_timeout_ms: float = setting(5.0, "milliseconds that a request waits for Redis at most, each time it asks")
    log: str = setting("", "decision log: file or postgresql:// URL; none: no log; empty: with the model", secret=True)
    spill: str = setting("", "folder of rows that wait while the decision log is down; empty: with the model")
    retention_days: float = setting(0.0, "days after which the decision log's rows are deleted; 0: kept for ever")
    ledger: str = setting("", "spend ledger: file or postgresql:// URL; empty: with the model", secret=True)
    stores: str = setting("require", f"what becomes of a start where log, ledger or Redis fails: {', '.join(STORES)}")
    redactor: str = setting("", "builtin, none or MODULE:FUNCTION; empty: the bundle's own, else builtin")
    spans: bool = setting(False, "OpenTelemetry spans of requests and of calls to teachers, without texts (extra otel)")
    threads: int = setting(1, "threads that the local model uses for one text")

    def __post_init__(self) -> None:
        check_types(self)
        _check_one_of("strategy", self.strategy, STRATEGIES)
        _check_one_of("deferral", self.deferral, DEFERRALS)
        _check_one_of("stores", self.stores, STORES)
        _check_one_of("on_broken", self.on_broken, BROKEN)
        for name in ("max_teacher_rate", "sample_rate", "day_zero_rate", "sample_share"):
            value = getattr(self, name)
            _check(value == AUTO or 0 <= value <= 1, name, value, "must lie in [0, 1]")
        for name in ("sample_calls_a_day", "deadline_s", "call_limit_s", "cache_ttl_s", "redis_timeout_ms"):
            _check(0 < getattr(self, name) < float("inf"), name, getattr(self, name), "must be positive")
        for name in ("concurrency", "threads"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        for name in ("cache_size", "retention_days", "refusal_ttl_s"):
            _check(0 <= getattr(self, name) < float("inf"), name, getattr(self, name), "must not be negative")
        usd = 0 if self.daily_usd is None else self.daily_usd
        _check(0 <= usd <= MOST_USD, "daily_usd", usd, f"must lie between 0 and {MOST_USD:,}; none: no limit")

    @property
    def first_sample_rate(self) -> float:
        """The sample's rate as it begins, where `auto` sets it later."""
        return FIRST if isinstance(self.sample_rate, str) else self.sample_rate

    @classmethod
    def load(
        cls, file: str | Path | None = None, environment: Mapping[str, str] = os.environ, **arguments: Any
    ) -> Policy:
        """Defaults, overruled by a TOML file, then MONOKU_* variables, then arguments. Raises ValueError."""
        return load(cls, file, environment, arguments)

    def with_values(self, values: Mapping[str, Any]) -> Policy:
        """This policy with some values replaced. Raises ValueError for unknown settings and wrong values."""
        refuse_unknown(Policy, values, "the arguments")
        return replace(self, **values)


def _check_one_of(name: str, value: str, known: Mapping[str, str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _check(good: bool, name: str, value: object, problem: str) -> None:
    if not good:
        raise ValueError(f"{name} {problem}, got {value!r}")
