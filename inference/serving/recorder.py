"""What a cascade remembers of its answers: counts, recent texts for feedback, and rows for the decision log."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from inference.bundle.redact import Redactor
from inference.common.fork import ProcessLocal, register
from inference.common.reentrant import reentrant_lock
from inference.common.text import MOST_CHARACTERS
from inference.log.decision_log import Correction, Decision, DecisionLog
from inference.serving.answer import Answer, Request
from inference.serving.measured import Measured
from inference.serving.own import OwnAnswers

REMEMBERED = 10_000
REMEMBERED_CHARACTERS = 4 << 20


class Recorder(ProcessLocal):
    """Records answers in memory at once and in the log, if there is one, behind the caller's back.

    `prompt_id` and `question_id` say what the first teacher is asked. `correct` knows the text of the last `remembered`
    requests, fewer where ids and texts have more than `most_characters`.
    """

    def __init__(
        self,
        log: DecisionLog | None,
        redact: Redactor,
        prompt_id: str = "",
        question_id: str = "",
        remembered: int = REMEMBERED,
        most_characters: int = REMEMBERED_CHARACTERS,
    ) -> None:
        self.log, self._redact, self._remembered, self._most = log, redact, remembered, most_characters
        self._own = OwnAnswers()
        self.measured: Measured | None = None  # nothing is spent on metrics that nobody reads
        self._prompt_id, self._question_id = prompt_id, question_id
        # The last requests, the newest at the end: id, row id, text. An id may be there more than once.
        self._recent: collections.deque[tuple[str, str, str]] = collections.deque()
        self._characters = 0
        self._answers: collections.Counter[tuple[str, bool, bool]] = collections.Counter()  # source, cached, deferred
        self._notes: collections.Counter[str] = collections.Counter()
        self._lock = reentrant_lock()
        register(self)

    def note(self, what: str) -> None:
        """Count something that went wrong, for `counts`."""
        with self._lock:
            self._notes[what] += 1

    def counts(self) -> dict[str, int]:
        """Answers by source, cached and deferred ones, and what went wrong."""
        with self._lock:
            counts, answers = collections.Counter(self._notes), list(self._answers.items())
        for (source, cached, deferred), n in answers:
            counts.update({source: n, "cached": n * cached, "deferred": n * deferred})
        return dict(counts)

    def record(self, request: Request, answer: Answer) -> None:
        """Record one answer. Deferred, fallen back and sampled requests become rows of the log, the rest counts."""
        with self._lock:
            self._answers[answer.source, answer.cached, answer.deferred] += 1
            if self.measured is not None:
                self.measured.count(answer)
            text = request.text if len(request.text) <= MOST_CHARACTERS else request.beginning
            self._recent.append((answer.id, request.draw.row_id, text))
            self._characters += len(answer.id) + len(text)
            if len(self._recent) > self._remembered or self._characters > self._most:
                self._let_go()
            own, seen = (None, False) if self.log is None else self._own.of(request)
        if self.log is None:
            return
        self.log.count(
            answer.source, answer.intent, answer.cached, answer.deferred, answer.accepted, own,
            answer.latency_ms, round(answer.cost_usd * 1e9) if answer.cost_usd else 0, seen,
        )  # fmt: skip
        if answer.deferred or request.draw.sampled or not answer.accepted:
            try:
                self._write(request, answer, self.log)
            except Exception as error:  # nobody's answer waits for the log, or fails with it
                self.note(f"not logged: {type(error).__name__}")

    def _let_go(self) -> None:
        recent = self._recent
        while recent and (len(recent) > self._remembered or self._characters > self._most):
            old, _, gone = recent.popleft()
            self._characters -= len(old) + len(gone)

    def _write(self, request: Request, answer: Answer, log: DecisionLog) -> None:
        try:
            redacted = request.redacted if request.redacted is not None else self._redact(request.text)
        except Exception:  # a redactor of the application's own: what cannot be redacted is not written
            self.note("not logged: it could not be redacted")
            return
        draw = request.draw
        log.put(
            Decision(
                draw.row_id, time.time(), redacted, answer.intent, answer.confidence, answer.accepted, answer.source,
                answer.cached, answer.deferred, draw.sampled, answer.bundle_id, answer.latency_ms, answer.reason,
                request.caller_id, draw.number, draw.rate, draw.epoch, self._prompt_id, self._question_id,
            )
        )  # fmt: skip

    def correct(self, id: str, intent: str, text: str | None) -> str:
        """Log a person's correction, and return its text.

        Raises KeyError if the request is not remembered, ValueError without a log.
        """
        if self.log is None:
            raise ValueError("feedback needs a decision log, and this cascade has none")
        with self._lock:  # of several requests with one id the newest is meant
            found = next(((row_id, text) for name, row_id, text in reversed(list(self._recent)) if name == id), None)
        row_id, known = found or (id, None)
        text = known if text is None else text
        if text is None:
            raise KeyError(f"request {id!r} is no longer remembered: give its text")
        self.log.put(Correction(row_id, time.time(), self._redact(text), intent, self._question_id))
        return text

    def forget(self, unwanted: Callable[[str], bool]) -> int:
        """Let go of remembered texts; how many there were."""
        with self._lock:
            known = {text for _, _, text in list(self._recent)}
        gone = {text for text in known if unwanted(text)}
        with self._lock:
            before = len(self._recent)
            self._recent = collections.deque(item for item in list(self._recent) if item[2] not in gone)
            self._characters = sum(len(id) + len(text) for id, _, text in list(self._recent))
            return before - len(self._recent)
