"""What exit or student says of each request, whoever answers it: by that alone drift is measured."""

from __future__ import annotations

import collections

from inference.serving.answer import Request

REMEMBERED = 50_000


class OwnAnswers:
    """Answers of exit or student to the last `size` texts: intents and confidences, under hashes of the texts.

    A text that a teacher answered comes from the cache when it is asked again, without the student. Were it not counted
    then, drift would be that of the texts alone which the student is sure of. Not safe between threads.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._known: collections.OrderedDict[int, tuple[str, float]] = collections.OrderedDict()

    def of(self, request: Request) -> tuple[tuple[str, float] | None, bool]:
        """Exit's or student's answer to a request, None if a rule did or nobody knows; whether its text was seen."""
        guess = request.guess
        # Found in this process's memory, as typed: it was kept with the own answer.
        if guess.cached and guess.confidence is not None and request.redacted is None:
            return (None if guess.source == "rules" else (str(guess.intent), guess.confidence)), True
        key = hash((request.bundle_id, request.text))
        known = self._known.get(key)
        if known is not None:  # one bundle says the same of a text every time
            try:
                self._known.move_to_end(key)
            except KeyError:  # dropped meanwhile by a signal handler of this thread
                self._known[key] = known
            return (None if guess.source in ("rules", "human") else known), True
        if guess.intent is None or guess.confidence is None or guess.source == "rules":
            return None, False
        own = self._known[key] = guess.intent, guess.confidence
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return own, False
