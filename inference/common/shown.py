"""What may be shown of a name or a message that holds URLs."""

from __future__ import annotations

import re

# Up to the last "@": a password that was not escaped may hold any sign.
_LOGIN = re.compile(r"(?<=://)\S*@")
_QUERY = re.compile(r"(://[^\s?#]*)[?#]\S*")


def without_logins(text: str) -> str:
    """`text` without what stands in its URLs before an "@" or after a "?": logins and keys."""
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1", _LOGIN.sub("", text))
