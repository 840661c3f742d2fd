"""Lines of JSON and of plain text, read in one way by every command."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

MOST_NESTED = 200  # what is deeper may be read, and then neither be written nor sent to another process


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(FILE:LINE, object) of every line that is not blank. Raises ValueError naming the line."""
    with path.open("rb") as file:
        yield from objects(path, file)


def objects(name: object, lines: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same of the lines of a file that was opened already; `name` is what the places call it."""
    for place, text in texts(name, lines):
        try:
            values = parse(text)
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        yield place, values


def read_text(path: Path) -> Iterator[tuple[str, str]]:
    """(FILE:LINE, text) of every line that is not blank, stripped. Raises ValueError naming the line."""
    with path.open("rb") as file:
        yield from texts(path, file)


def texts(name: object, lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """The same of the lines of a file that was opened already; `name` is what the places call it."""
    for number, line in enumerate(lines, 1):
        place = f"{name}:{number}"
        try:
            text = decode(line).strip()
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if text:
            yield place, text


def decode(line: bytes) -> str:
    """A line's text, without its end and without a byte order mark. Raises ValueError if it is not UTF-8."""
    try:
        # Files with a mark are joined to others, so that it may begin any line.
        return line.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: {error.reason} at byte {error.start + 1}") from error


def parse(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValueError saying what is wrong."""
    return parse_at(text, 0)[0]


def parse_at(text: str, start: int, whole: bool = True) -> tuple[dict[str, Any], int]:
    """The JSON object that begins at `start`, and where it ends; `whole` says that nothing may follow it.

    Raises ValueError saying what is wrong.
    """
    try:
        values, end = (_DECODER.decode(text[start:]), len(text)) if whole else _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.colno}") from error
    except RecursionError:
        raise ValueError("not valid JSON: nested too deep") from None
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {type(values).__name__}")
    brackets = text.count("[", start, end) + text.count("{", start, end)
    if brackets > MOST_NESTED and _depth(values) > MOST_NESTED:
        raise ValueError("not valid JSON: nested too deep")
    return values, end


def _depth(values: dict[str, Any]) -> int:
    """How many objects and lists are in one another, up to one more than MOST_NESTED."""
    depth = 0
    level: list[Any] = [values]
    while level and depth <= MOST_NESTED:
        depth += 1
        inner = (child for one in level for child in (one.values() if isinstance(one, dict) else one))
        level = [child for child in inner if isinstance(child, dict | list)]
    return depth


def line(values: Any, **options: Any) -> str:
    """`values` as JSON that any reader takes: a number that JSON does not have, NaN or an infinity, becomes null."""
    try:
        return json.dumps(values, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(values), allow_nan=False, **options)


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {_finite(name): _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:  # Python's limit
        raise ValueError(f"a number of {len(text)} digits is too long") from None


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed; write null")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_number, parse_constant=_refuse)
