"""Logging: loggers named monoku.<area>, silent until the application adds a handler.

A message never holds a query's text, a password or a key.
"""

from __future__ import annotations

import logging

# Without a handler of some kind, the standard library would print warnings to stderr.
logging.getLogger("monoku").addHandler(logging.NullHandler())


class Condition:
    """Whether one part is in trouble: a warning when it begins, an INFO when it is over, nothing in between."""

    def __init__(self, area: str, over: str) -> None:
        self._logger = logging.getLogger(f"monoku.{area}")
        self._over = over
        # One key at most, what the trouble is about. `setdefault` and `pop` are atomic: a lock that another thread
        # holds while the process forks would stay held in the child.
        self._trouble: dict[object, object] = {}

    def begin(self, message: str, *values: object, about: object = None) -> None:
        """Warn, unless there is trouble about the same thing already. `values` fill `message`'s %s, if it is logged."""
        if about in self._trouble:
            return
        mine = object()
        if self._trouble.setdefault(about, mine) is mine:
            for other in self._trouble.keys() - {about}:
                self._trouble.pop(other, None)
            self._logger.warning(message, *values)

    def end(self) -> None:
        """Tell that the trouble is over, if there was any."""
        for about in list(self._trouble):
            if self._trouble.pop(about, None) is not None:
                self._logger.info(self._over)
