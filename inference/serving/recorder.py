"""What a cascade remembers of its answers: counts, recent texts for feedback, and rows for the decision log."""

from __future__ import annotations

import collections
import sys
import threading
import time
from collections.abc import Callable

from inference.bundle.redact import Redactor
from inference.common.fork import ProcessLocal, register
from inference.log.decision_log import Correction, Decision, DecisionLog
from inference.serving.answer import Answer, Request
from inference.serving.own import OwnAnswers

REMEMBERED = 10_000
REMEMBERED_BYTES = 16 << 20


class Recorder(ProcessLocal):
    """Records answers in memory at once and in the log, if there is one, behind the caller's back.

    `prompt_id` and `question_id` say what the first teacher is asked. `correct` knows the text of the last `remembered`
    requests, fewer where ids and texts take more than `most_bytes`.
    """

    def __init__(
        self,
        log: DecisionLog | None,
        redact: Redactor,
        prompt_id: str = "",
        question_id: str = "",
        remembered: int = REMEMBERED,
        most_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self.log, self._redact, self._remembered, self._most_bytes = log, redact, remembered, most_bytes
        self._bytes, self._own = 0, OwnAnswers()
        self._prompt_id, self._question_id = prompt_id, question_id
        self._recent: collections.OrderedDict[str, tuple[str, str, int]] = collections.OrderedDict()
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()
        register(self)

    def note(self, what: str) -> None:
        """Count something that went wrong, for `counts`."""
        with self._lock:
            self._counts[what] += 1

    def counts(self) -> dict[str, int]:
        """Answers by source, cached and deferred ones, and what went wrong."""
        with self._lock:
            return dict(self._counts)

    def record(self, request: Request, answer: Answer) -> None:
        """Record one answer. Deferred, fallen back and sampled requests become rows of the log, the rest counts."""
        with self._lock:
            self._counts[answer.source] += 1
            self._counts["cached"] += answer.cached
            self._counts["deferred"] += answer.deferred
            self._remember(answer.id, request.draw.row_id, request.beginning)
            own, seen = (None, False) if self.log is None else self._own.of(request)
        if self.log is None:
            return
        self.log.count(
            answer.source, answer.intent, answer.cached, answer.deferred, answer.accepted, own,
            answer.latency_ms, round(answer.cost_usd * 1e9), seen,
        )  # fmt: skip
        if answer.deferred or request.draw.sampled or not answer.accepted:
            self._write(request, answer, self.log)

    def _remember(self, id: str, row_id: str, text: str) -> None:
        self._let_go(id)  # of several requests with one id the newest is meant
        size = sys.getsizeof(id) + sys.getsizeof(text)  # it may grow later, by a copy in another encoding
        self._recent[id] = row_id, text, size
        self._bytes += size
        while len(self._recent) > self._remembered or self._bytes > self._most_bytes:
            self._let_go(next(iter(self._recent)))

    def _let_go(self, id: str) -> bool:
        found = self._recent.pop(id, None)
        if found is not None:
            self._bytes -= found[2]
        return found is not None

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
        with self._lock:
            row_id, known, _ = self._recent.get(id, (id, None, 0))
        text = known if text is None else text
        if text is None:
            raise KeyError(f"request {id!r} is no longer remembered: give its text")
        self.log.put(Correction(row_id, time.time(), self._redact(text), intent, self._question_id))
        return text

    def forget(self, unwanted: Callable[[str], bool]) -> int:
        """Let go of remembered texts; how many there were."""
        with self._lock:
            known = list(self._recent.items())
        gone = [id for id, (_, text, _) in known if unwanted(text)]
        with self._lock:
            return sum(self._let_go(id) for id in gone)
