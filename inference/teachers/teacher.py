"""Teachers: whatever can be asked for the intent of a query, behind one small interface.

An LLM over HTTP (http.py), any function that a team already has, or answers recorded in a file (own.py). A teacher
answers with a `Reply`, whose label is always of the taxonomy, or raises TeacherError, which says what may be done next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from inference.common.errors import MonokuError
from inference.money.prices import Usage

NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a teacher.

    `label` is None where the teacher refused or named no intent; `refusal` then says why, and `again` whether asking
    again may help. `nano` is what was charged, in nano-dollars. `latency_s` is None where nobody knows.
    """

    label: str | None
    refusal: str | None = None
    again: bool = False
    usage: Usage = NO_USAGE
    nano: int = 0
    latency_s: float | None = None


class TeacherError(MonokuError):
    """No answer came. The message is one line for a person.

    `kind` is a short word for counting; `again`: a later try may succeed; `fatal`: no query will fare better until
    somebody changes something (the key, the model's name, the account); `retry_after_s`: what the server asked for;
    `unsure`: an answer may have been generated, and charged, that never arrived.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        again: bool = False,
        fatal: bool = False,
        retry_after_s: float | None = None,
        unsure: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.again = again
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.unsure = unsure

    @property
    def of_query(self) -> bool:
        """Whether the query is at fault: neither a later try nor anybody's change helps it, and others fare well."""
        return not (self.again or self.fatal)


@runtime_checkable
class Teacher(Protocol):
    """What labelling and the cascade need of a teacher."""

    @property
    def name(self) -> str:
        """Who labelled, as rows of data carry it."""

    @property
    def prompt_id(self) -> str:
        """The content id of the question that is asked."""

    async def ask(self, text: str, timeout_s: float) -> Reply:
        """The intent of `text` within `timeout_s` seconds in all. Raises TeacherError if no answer came."""

    def worst_case(self, text: str) -> int:
        """Nano-dollars that asking once cannot exceed."""

    async def close(self) -> None:
        """Let go of connections."""
