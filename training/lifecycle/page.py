"""What every page of HTML has in common."""

from __future__ import annotations

import html


def escaped(text: str) -> str:
    """A text as it may stand in HTML, between tags and in quotes."""
    return html.escape(text.encode("utf-8", "replace").decode())
