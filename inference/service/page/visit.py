"""One visit to the page: who comes, which period they look at, and what their form says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from inference.report import period
from inference.service.door import Refusal
from inference.service.page.overview import Period

PERIODS = ("24h", "7d", "30d", "90d")
USUAL = "7d"
MOST_FIELDS = 2000


@dataclass(frozen=True)
class Visit:
    """A request of the page. `session` is None for whoever is to give the token first; `form` is what they sent."""

    request: Request
    session: str | None
    form: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        """What the address or the form says of a name, "" where neither does."""
        return self.form.get(name, self.request.query_params.get(name, ""))

    @property
    def since(self) -> str:
        """What the period begins with; the usual one where an invalid one is asked for, so that links lead on."""
        try:
            self.period()
        except ValueError:
            return USUAL
        return self.value("since") or USUAL

    def period(self) -> Period:
        """The period of this visit, until now. Raises ValueError if it is none."""
        return Period(*period(self.value("since") or USUAL, "now", time.time()))

    def address(self, path: str, **values: Any) -> str:
        """A path with this visit's period, and further values."""
        given = {"since": self.since if self.since != USUAL else "", **values}
        query = urlencode({name: str(value) for name, value in given.items() if value != ""})
        return f"{path}?{query}" if query else path


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises Refusal if it is none."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise Refusal(422, "invalid", "the form cannot be read") from error
    return dict(pairs)
