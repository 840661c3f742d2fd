"""The watch for a newer bundle: loads it on a thread of its own and swaps it in."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inference.bundle.manifest import CURRENT
from inference.bundle.redact import Redactor
from inference.bundle.travel import fetch
from inference.common.logs import Condition
from inference.common.workers import Worker
from inference.serving.answer import Request
from inference.serving.guard import Guard
from inference.serving.policy import Policy
from inference.serving.tier import Tier
from inference.serving.trial import Beside, OnTrial, Trials, state

LOOK_EVERY_S = 1.0
FETCH_EVERY_S = 30.0
_OF_THE_CONTENT = (ValueError, TypeError, LookupError, type(None))  # causes of refusals; any other may be over soon


class Watch:
    """Loads the serving bundle, and every newer one beside it, on a thread of its own; a refused one changes nothing.

    `path` is models/<name>, which may not hold a bundle yet, or one version's folder, which never changes. `redactor`
    is the application's own, where its bundles were trained with one. A bundle that cannot be loaded is tried again
    after a pause; one that is refused for its content, once its files have changed. `url` is where `path` was fetched
    from, if it was: it is fetched again every `fetch_every_s` seconds.
    """

    def __init__(
        self,
        path: Path,
        policy: Policy,
        redactor: Redactor | None = None,
        url: str | None = None,
        every_s: float = LOOK_EVERY_S,
        fetch_every_s: float = FETCH_EVERY_S,
    ) -> None:
        self.path, self.policy, self.redactor, self.every_s = path, policy, redactor, every_s
        self.tier: Tier | None = None  # what serves: all of what is loaded, or less of it
        self.loaded: Tier | None = None
        self.guard: Guard | None = None
        self.trials = Trials(path, policy, redactor)
        self.trial: OnTrial | None = None
        self.refused: str | None = None
        self.names: tuple[str, ...] | None = None  # the intents that the teachers know
        self._refusing = Condition("serving", "a newer bundle is served again")
        self._refused_as: Any = None
        if self._version() is not None or (path / "manifest.json").exists():
            self.tier = self.loaded = Tier(path, policy, redactor)
        self.url, self.fetch_every_s, self._fetched = url, fetch_every_s, time.monotonic()
        self.worker = Worker("monoku-watch", self.look, pauses_s=(every_s, 30 * every_s))

    def _version(self) -> str | None:
        try:
            return (self.path / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def look(self) -> float:
        """Load the serving bundle if it is another than the one loaded; the seconds until the next look."""
        try:
            self._follow()
        finally:  # what serves is watched though a newer one cannot be fetched or loaded
            if self.guard is not None:
                self.guard.start()
                self.tier = self.guard.serves(self.loaded)
            self.trial = self.trials.look(self.loaded, self.tier is not self.loaded, _look_of)
        return self.every_s

    def _follow(self) -> None:
        self._fetch()
        version = self._version()
        if self.loaded is not None and version in (None, self.loaded.classifier.bundle.root.name):
            self.refused = self._refused_as = None
            self._refusing.end()
        elif version is not None and self._refused_as != (found := _look_of(self.path / version)):
            self._load(version, found)

    def _fetch(self) -> None:
        if self.url is not None and time.monotonic() - self._fetched >= self.fetch_every_s:
            self._fetched = time.monotonic()
            fetch(self.url)

    def serve(self, follow: Callable[[float, str], None], beside: Beside) -> None:
        """Begin: `follow` is called with the sample's rate and epoch at each change, on another thread; `beside` keeps
        what a bundle on trial says. What is on trial already answers from now on.
        """
        if self.guard is not None:
            self.guard.pace.followed_by(follow)
        self.trials.beside = beside
        self.trial = self.trials.look(self.loaded, self.tier is not self.loaded, _look_of)

    def compare(self, request: Request) -> None:
        """Have a sampled request answered by the bundle on trial too, if there is one, behind its caller's back."""
        trial = self.trial
        if trial is not None:
            trial.beside.put(request, trial)

    def watched_by(self, guard: Guard) -> None:
        """Have `guard` say what may serve of what is loaded."""
        self.guard, self.tier = guard, guard.begin(self.loaded)

    def _load(self, version: str, found: Any) -> None:
        try:
            tier = Tier(self.path, self.policy, self.redactor)
            if self.names is not None and tier.taxonomy.names != self.names:
                raise ValueError(f"{version} has other intents than the teachers were told: restart to serve it")
        except Exception as error:
            self.refused = str(error) or type(error).__name__
            self._refusing.begin("a newer bundle is refused, nothing changes: %s", self.refused, about=version)
            if not isinstance(error, ValueError) or not isinstance(error.__cause__, _OF_THE_CONTENT):
                raise  # so that the worker tries again
            self._refused_as = found
            return
        self.refused = self._refused_as = None
        self._refusing.end()
        self.loaded = tier
        self.tier = tier if self.guard is None else self.guard.serves(tier)

    def promise(self) -> dict[str, Any]:
        """Whether accepted answers are known to keep their target."""
        return self.guard.state() if self.guard is not None else {"state": "off", "why": "nothing watches it"}

    def stats(self) -> dict[str, Any]:
        """What serves, what is refused or on trial, the promise, and the sample's rate."""
        tier = self.tier
        return {
            "bundle_id": tier.bundle_id if tier else None,
            "refused_bundle": self.refused,
            "promise": self.promise(),
            "sample": self.guard.pace.state() if self.guard is not None else None,
            "trial": state(self.trial, self.trials),
            "other_redaction": (tier.other_redaction or None) if tier else None,
        }

    def stop(self) -> None:
        """End the threads."""
        self.worker.stop(LOOK_EVERY_S + 5)
        if self.trials.beside is not None:
            self.trials.beside.worker.stop(LOOK_EVERY_S + 5)
        if self.guard is not None:
            self.guard.worker.stop(LOOK_EVERY_S + 5)


def _look_of(folder: Path) -> Any:
    """What tells a folder from what it was, or will be."""
    files = []
    with contextlib.suppress(OSError, ValueError):
        for path in folder.iterdir():
            found = path.stat()
            files.append((path.name, found.st_size, found.st_mtime_ns))
    return folder, sorted(files)
