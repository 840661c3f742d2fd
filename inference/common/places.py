"""Where things lie. Every path is made absolute when it is given, so that a later change of folder moves nothing.

The URLs of the log, the ledger and Redis are read here alone. An error never repeats any part of these: where a
password holds a character that must be escaped, no part is known to be harmless. URLs of storage, which keep their
secrets elsewhere, are read in inference/common/storage.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DATABASE = "a file, sqlite:///FILE or postgresql://USER:PASSWORD@HOST:5432/DATABASE"
REDIS = "redis://HOST:6379/0, rediss://HOST:6379/0 or unix:///PATH"
_POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
_REDIS = ("redis", "rediss", "unix")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(?=/)", re.IGNORECASE)  # one letter alone is a drive of Windows
_KNOWN = re.compile(rf"({'|'.join(map(re.escape, (*_POSTGRESQL, *_REDIS, 'sqlite')))}):", re.IGNORECASE)
_SERVER = re.compile(r"//(?P<user>[^/?#@]*@)?(?P<hosts>[^/?#@]*)(?P<path>[^?#@]*)(?P<query>[?#][^@]*)?", re.DOTALL)
_HOST = r"(?:\[[0-9a-f:.]+\]|[^\[\]:,\s]*)(?::\d*)?"
_HOSTS = re.compile(rf"{_HOST}(?:,{_HOST})*", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """A file, whose path is absolute, or a server. `url` may hold a password; `name` is what may be shown."""

    name: str
    url: str = field(repr=False)
    file: Path | None = None


def database(given: str | Path, what: str) -> Place:
    """The file or the PostgreSQL server that `given` names. Raises ValueError about `what` for anything else."""
    scheme, rest = _split(str(given))
    if scheme in _POSTGRESQL:
        return _server("postgresql", rest, what, DATABASE)
    if scheme not in ("", "sqlite") or (scheme and not rest.startswith("///")):
        raise _other(what, DATABASE)
    name = rest[3:].partition("?")[0] if scheme else rest
    if name in ("", ":memory:") or name.casefold() == "none":
        raise ValueError(f"{what} must be {DATABASE}, got {name!r}")
    file = Path(name).absolute()
    return Place(str(file), str(file), file)


def spill_folder(given: str | Path | None, home: Path) -> Path:
    """Where rows wait for the decision log: the folder that the setting `spill` gives, else the one with the model."""
    return Path(given) if given else home / "spill"


def redis(given: str) -> Place:
    """The Redis server that `given` names. Raises ValueError for anything else."""
    scheme, rest = _split(given)
    if scheme not in _REDIS:
        raise _other("the cache in Redis", REDIS)
    return _server(scheme, rest, "the cache in Redis", REDIS)


def is_url(place: str | Path) -> bool:
    """Whether data or a bundle lie at a URL, which fsspec reads, rather than in a file or folder here."""
    return "://" in str(place)


def _split(given: str) -> tuple[str, str]:
    """The scheme in lower case, and the rest; "" for a plain path, "?" for what looks like a URL and has no scheme."""
    found = _SCHEME.match(given)
    if found:
        return found[1].lower(), given[found.end() :]
    return ("?" if "://" in given or _KNOWN.match(given) else ""), given


def _server(scheme: str, rest: str, what: str, forms: str) -> Place:
    found = _SERVER.fullmatch(rest)
    if found is None or not _HOSTS.fullmatch(found["hosts"]):
        hint = "in a user name or password write @ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
        raise ValueError(f"{what} must be {forms}; the given {scheme} URL is invalid ({hint})")
    return Place(f"{scheme}://{found['hosts']}{found['path']}", f"{scheme}:{rest}")


def _other(what: str, forms: str) -> ValueError:
    # What was given is not shown: it may hold a password.
    return ValueError(f"{what} must be {forms}; the given URL is of another form")
