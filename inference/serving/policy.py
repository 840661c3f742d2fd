"""How a cascade decides: one frozen dataclass, from arguments, a TOML file and MONOKU_* variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

STRATEGIES = {
    "tiered": "the teacher answers everything",
    "hybrid": "rules, then the teacher",
    "local-first": "rules, the student where certified, then the teacher",
}
DEFERRALS = {
    "wait": "block up to the deadline: p95 is the teacher's once over 5 % of requests are deferred",
    "background": "answer at once with the marked guess; the teacher's answer serves the next identical query",
    "never": "answer with the marked guess",
}
PREFIX = "MONOKU_"


@dataclass(frozen=True)
class Policy:
    """Everything that may be set. Dollars are per UTC day and shared by all processes on one ledger."""

    strategy: str = "local-first"  # one of STRATEGIES
    deferral: str = "wait"  # one of DEFERRALS
    target: float = 0.95  # which certificate an accepted answer has
    deadline_s: float = 2.0  # how long `wait` blocks a caller
    call_limit_s: float = 30.0  # how long one call to a teacher may take in all, its caller gone or not
    max_teacher_rate: float = 1.0  # share of requests that may be deferred; what is over stays local, uncertified
    sample_rate: float = 0.01  # share of all requests that the teacher labels too, to measure live agreement
    concurrency: int = 16  # calls to teachers at once
    daily_usd: float | None = None  # no call may take the day's spending over this
    cache_size: int = 50_000  # entries in this process
    cache_ttl_s: float = 86_400.0  # seconds that an entry lives
    redis: str = ""  # redis:// URL of a cache shared by processes and machines
    log: str = ""  # file or postgresql:// URL of the decision log; none: no log; empty: beside the model
    ledger: str = ""  # file or postgresql:// URL of the spend ledger; empty: beside the model
    redactor: str = ""  # builtin, none or MODULE:FUNCTION; empty: the bundle's own, builtin before there is one
    threads: int = 1  # per text

    def __post_init__(self) -> None:
        for item in fields(self):
            _check_type(item.name, str(item.type), getattr(self, item.name))
        _check_one_of("strategy", self.strategy, STRATEGIES)
        _check_one_of("deferral", self.deferral, DEFERRALS)
        for name in ("max_teacher_rate", "sample_rate"):
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "must lie in [0, 1]")
        for name in ("deadline_s", "call_limit_s", "cache_ttl_s"):
            _check(0 < getattr(self, name) < float("inf"), name, getattr(self, name), "must be positive")
        for name in ("concurrency", "threads"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        _check(self.cache_size >= 0, "cache_size", self.cache_size, "must not be negative")
        _check(self.daily_usd is None or self.daily_usd >= 0, "daily_usd", self.daily_usd, "must not be negative")

    @classmethod
    def load(
        cls, file: str | Path | None = None, environment: Mapping[str, str] = os.environ, **arguments: Any
    ) -> Policy:
        """Defaults, overruled by a TOML file, then MONOKU_* variables, then arguments. Raises ValueError."""
        policy = cls()
        if file is not None:
            try:
                values = tomllib.loads(Path(file).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ValueError(f"the policy {file} cannot be read: {error}") from error
            policy = policy.with_values(values, str(file))
        given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
        policy = policy.with_values(_from_environment(given), "the environment")
        return policy.with_values(arguments)

    def with_values(self, values: Mapping[str, Any], where: str = "the arguments") -> Policy:
        """This policy with some values replaced. Raises ValueError for unknown keys and wrong values."""
        known = {item.name for item in fields(self)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"{where}: unknown {', '.join(unknown)}; a policy has {', '.join(sorted(known))}")
        whole: dict[str, Any] = {
            name: float(value) if type(value) is int and _is_float(name) else value for name, value in values.items()
        }
        return replace(self, **whole)


def _is_float(name: str) -> bool:
    return any(item.name == name and "float" in str(item.type) for item in fields(Policy))


def _from_environment(given: Mapping[str, str]) -> dict[str, Any]:
    kinds = {item.name: str(item.type) for item in fields(Policy)}
    values: dict[str, Any] = {}
    for variable, text in given.items():
        name = variable.removeprefix(PREFIX).lower()
        kind = kinds.get(name, "str")
        try:
            values[name] = float(text) if "float" in kind else int(text) if kind == "int" else text
        except ValueError:
            raise ValueError(f"{variable} must be a number, got {text!r}") from None
    return values


def _check_type(name: str, kind: str, value: object) -> None:
    if value is None and kind.endswith("None"):
        return
    wanted = {"str": str, "int": int}.get(kind, float)
    if type(value) is not wanted:
        raise ValueError(f"{name} must be {wanted.__name__}, got {value!r}")


def _check_one_of(name: str, value: str, known: Mapping[str, str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _check(good: bool, name: str, value: object, problem: str) -> None:
    if not good:
        raise ValueError(f"{name} {problem}, got {value!r}")
