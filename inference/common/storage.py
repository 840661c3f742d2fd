"""Shared storage: any place that fsspec knows by a URL, such as s3://, gs://, hf:// or file:// (extra `bulk`)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from inference.common.errors import MonokuError
from inference.common.extras import library


def storage(url: str, error: type[Exception] = ValueError) -> tuple[Any, str]:
    """The storage that knows a URL, and the path there. Raises `error` if there is none, MonokuError without fsspec."""
    with told(url, "opened", error):
        system, root = library("fsspec.core", "bulk").url_to_fs(url)
        return system, root


@contextlib.contextmanager
def told(url: str, what: str, error: type[Exception] = ValueError) -> Iterator[None]:
    """Make an `error` without secrets of whatever a storage raises: each has exceptions of its own. Ours pass."""
    try:
        yield
    except MonokuError:
        raise
    except Exception as found:
        raise error(f"{shown(url)} cannot be {what}: {type(found).__name__}: {shown(str(found))}") from found


def shown(text: str) -> str:
    """A URL of storage, or a message that may hold one, without what may be secret."""
    found = re.sub(r"(\w[\w+.-]*://)?[^@\s]*:(?!//)[^@\s]*@", r"\1", text)  # what follows a colon may hold a slash
    return re.sub(r"[^/@\s]*@", "", re.sub(r"\?\S*", "", found)).rstrip("/")
