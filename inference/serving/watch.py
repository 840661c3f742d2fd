"""The watch for a newer bundle: loads it on a thread of its own and swaps it in."""

from __future__ import annotations

import threading
from pathlib import Path

from inference.bundle.manifest import CURRENT, BundleError
from inference.bundle.redact import Redactor
from inference.common.logs import Condition
from inference.serving.policy import Policy
from inference.serving.tier import Tier

LOOK_EVERY_S = 1.0


class Watch:
    """Loads the serving bundle, and every newer one beside it, on a thread of its own; a refused one changes nothing.

    `path` is models/<name>, which may not hold a bundle yet, or one version's folder, which never changes. `redactor`
    is the application's own, where its bundles were trained with one.
    """

    def __init__(self, path: Path, policy: Policy, redactor: Redactor | None = None) -> None:
        self.path, self.policy, self.redactor = path, policy, redactor
        self.tier: Tier | None = None
        self.refused: str | None = None
        self.names: tuple[str, ...] | None = None  # the intents that the teachers know
        self._refusing = Condition("serving", "a newer bundle is served again")
        self._seen = self._version()
        if self._seen is not None or (path / "manifest.json").exists():
            self.tier = Tier(path, policy, redactor)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def _version(self) -> str | None:
        try:
            return (self.path / CURRENT).read_text(encoding="utf-8")
        except OSError:
            return None

    @property
    def running(self) -> bool:
        """Whether the thread has been started in this process."""
        return self._thread is not None

    def start(self) -> None:
        """Look for a newer bundle from now on, once a second."""
        self._thread = threading.Thread(target=self._run, name="monoku-watch", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Load the serving bundle if it is another than the one last seen."""
        version = self._version()
        if version is None or version == self._seen:
            return
        self._seen = version
        try:
            tier = Tier(self.path, self.policy, self.redactor)
        except (BundleError, ValueError, OSError) as error:
            self._refuse(version, str(error))
            return
        if self.names is not None and tier.taxonomy.names != self.names:
            self._refuse(
                version, f"{version.strip()} has other intents than the teachers were told: restart to serve it"
            )
            return
        self.refused = None
        self._refusing.end()
        self.tier = tier

    def _refuse(self, version: str, why: str) -> None:
        self.refused = why
        self._refusing.begin("a newer bundle is refused, nothing changes: %s", why, about=version)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.look()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(LOOK_EVERY_S + 5)

    def after_fork(self) -> None:
        """A child has no thread yet."""
        self._thread, self._stop = None, threading.Event()
