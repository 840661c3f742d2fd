"""Templates to replies, with the headers that keep a hostile text a text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2
from starlette.responses import HTMLResponse

from inference.report import amount, utc
from inference.service.page import charts

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None or math.isnan(share) else f"{share * 100:.{digits}f} %"


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {"percent": _percent, "amount": amount, "utc": utc, "dollars": charts.dollars}
    found.filters["thousands"] = lambda n: f"{n:,}"
    return found


_TEMPLATES = _environment()


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The reply that a template makes of values; everything in them is escaped."""
    # What somebody typed may hold half a surrogate pair, which no reply can.
    text = _TEMPLATES.get_template(f"{template}.html").render(**values)
    return HTMLResponse(text.encode("utf-8", "replace"), status, HEADERS)
