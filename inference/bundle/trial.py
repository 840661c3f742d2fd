"""A version on trial: it answers beside the serving one, in the log alone or for a share of the callers too.

`models/<name>/trial.json` names it, as `current` names what serves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from inference.bundle.manifest import VERSION, Bundle, BundleError
from inference.bundle.versions import TRIAL, reasons, served, serving, versions
from inference.common.files import write_atomically


class Trial(NamedTuple):
    """A version on trial, the one that serves beside it, and the share of requests that it answers to callers: 0 while
    it answers in the log alone.
    """

    version: str
    beside: str
    share: float = 0.0


def on_trial(home: Path) -> Trial | None:
    """What is on trial, None where nothing is; once another version serves, the trial is over.

    Raises BundleError for a damaged file.
    """
    path = home / TRIAL
    try:
        values = json.loads(path.read_bytes())
        found = Trial(str(values["version"]), str(values["beside"]), float(values["share"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"{path} cannot be read: {error}; end the trial with --shadow off, or delete it") from error
    if not VERSION.fullmatch(found.version) or not 0 <= found.share <= 1:
        raise BundleError(f"{path} names {found.version!r} and {found.share}, expected a version and a share of 0 to 1")
    return found if found.beside == serving(home) else None


def begin(home: Path, version: str) -> str:
    """Have a version answer in the log alone, `latest`: the newest after the serving one; its name.

    One that was rejected may, too. Raises BundleError if there is none, it cannot be loaded, serves, or answers another
    question than the serving one.
    """
    now = serving(home)
    if now is None:
        raise BundleError(f"{home} has no serving version: a trial needs one to answer beside")
    found = _latest(home) if version == "latest" else version
    if found not in versions(home):
        raise BundleError(f"{home} has no version {found!r}; it has {', '.join(versions(home)) or 'none'}")
    if found == now:
        raise BundleError(f"{found} serves: choose another version for a trial")
    if set(Bundle.load(home / found).taxonomy.names) != set(Bundle.load(home / now).taxonomy.names):
        raise BundleError(f"{found} has other intents than {now}, which serves: the two cannot be compared")
    _write(home, Trial(found, now))
    return found


def give(home: Path, share: float, force: bool = False) -> str:
    """Have the version on trial answer a share of the requests to callers; its name.

    Raises ValueError if nothing is on trial, the share is not within [0, 1], or the version was rejected by the gate
    and this is not forced.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a canary's share must lie between 0 and 100 %, got {100 * share:g} %")
    found = on_trial(home)
    if found is None:
        raise ValueError("no version is on trial: begin with --shadow VERSION")
    if share and not force and found.version not in served(home):
        why = "; ".join(reasons(home, found.version))
        raise ValueError(f"{found.version} was rejected: {why}. Add --force to let it answer callers all the same")
    _write(home, found._replace(share=share))
    return found.version


def end(home: Path) -> bool:
    """End the trial; whether there was one."""
    there = (home / TRIAL).is_file()
    (home / TRIAL).unlink(missing_ok=True)
    return there


def _latest(home: Path) -> str:
    newer = [name for name in versions(home) if name > (serving(home) or "")]
    if not newer:
        raise BundleError(f"{home} has no version that is newer than the serving one: name one")
    return newer[-1]


def _write(home: Path, trial: Trial) -> None:
    write_atomically(home / TRIAL, json.dumps(trial._asdict()).encode())
