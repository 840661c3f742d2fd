"""Settings: the fields of a frozen dataclass, each with a help text, from a TOML file, the environment and flags."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import logging
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

PREFIX = "MONOKU_"
_log = logging.getLogger("monoku.settings")
_KINDS: dict[str, tuple[type, str]] = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
}
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def setting(default: Any, help: str, secret: bool = False, words: tuple[str, ...] = ()) -> Any:
    """A field with its help text. One that is `secret`, as it may hold a password, is left out of the repr.

    `words` may stand for a value of its type.
    """
    return dataclasses.field(default=default, repr=not secret, metadata={"help": help, "words": words})


def load(kind: type[T], file: str | Path | None, environment: Mapping[str, str], arguments: Mapping[str, Any]) -> T:
    """Defaults, overruled by a TOML file, then MONOKU_* variables, then arguments. Raises ValueError."""
    values = {} if file is None else read_toml(kind, file)
    values |= from_environment(kind, environment)
    refuse_unknown(kind, arguments, "the arguments")
    return kind(**{**values, **arguments})


def read_toml(kind: type[T], file: str | Path) -> dict[str, Any]:
    """The settings in a TOML file. Raises ValueError naming the file."""
    try:
        values = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"the settings {file} cannot be read: {error}") from error
    refuse_unknown(kind, values, str(file))
    return values


def from_environment(kind: type[T], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings in MONOKU_* variables; an empty one is not set. Raises ValueError naming the variable.

    Others that begin with MONOKU_ are none of ours, but for one that is nearly a setting's name: that is a warning.
    """
    known = {f"{PREFIX}{item.name.upper()}": item for item in dataclasses.fields(kind)}
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            for near in _near(variable.removeprefix(PREFIX).lower(), [item.name for item in known.values()]):
                meant = PREFIX + near.upper()
                _log.warning("the environment variable %s is ignored; did you mean %s?", variable, meant)
    found = {variable: environment.get(variable, "").strip() for variable in known}
    return {known[variable].name: _convert(known[variable], variable, text) for variable, text in found.items() if text}


def add_flags(parser: argparse.ArgumentParser, kind: type[T], leave_out: Collection[str] = ()) -> None:
    """Give `parser` a flag for every setting that is not left out, with its meaning and its default."""
    for item in dataclasses.fields(kind):
        if item.name in leave_out:
            continue
        shown = "" if item.default in ("", None, dataclasses.MISSING) else f" (default {item.default})"
        flag, text = "--" + item.name.replace("_", "-"), (item.metadata["help"] + shown).replace("%", "%%")
        type_ = _type(item)
        if type_ is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            metavar = "TEXT" if type_ is str else "N"
            parser.add_argument(flag, type=_reader(item), default=None, metavar=metavar, help=text)


def from_flags(kind: type[T], arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    given = ((item.name, getattr(arguments, item.name, None)) for item in dataclasses.fields(kind))
    return {name: value for name, value in given if value is not None}


def check_types(settings: T) -> None:
    """Raise ValueError for a value of another type than its field's. A whole number becomes the float it stands for."""
    for item in dataclasses.fields(settings):
        value, wanted = getattr(settings, item.name), _type(item)
        if (value is None and str(item.type).endswith("None")) or value in _words(item):
            continue
        if wanted is float and type(value) is int:
            value = _to_float(value)
            object.__setattr__(settings, item.name, value)
        if type(value) is not wanted:
            raise ValueError(f"{item.name} must be {_expected(item)}, got {value!r}")


def refuse_unknown(kind: type[T], values: Iterable[str], where: str) -> None:
    """Raise ValueError where a name is no setting."""
    known = [item.name for item in dataclasses.fields(kind)]
    for name in sorted(set(values) - set(known)):
        near = "".join(f"did you mean {guess}? " for guess in _near(name, known))
        raise ValueError(f"{where}: unknown setting {name}; {near}known are {', '.join(known)}")


def _near(name: str, known: Iterable[str]) -> Iterator[str]:
    yield from difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)


def _type(item: dataclasses.Field[Any]) -> type:
    name = item.type.__name__ if isinstance(item.type, type) else str(item.type)
    return _KINDS[name.removesuffix(" | None").removesuffix(" | str")][0]


def _words(item: dataclasses.Field[Any]) -> tuple[str, ...]:
    return tuple(item.metadata.get("words", ()))


def _expected(item: dataclasses.Field[Any]) -> str:
    return " or ".join((_KINDS[_type(item).__name__][1], *_words(item)))


def _reader(item: dataclasses.Field[Any]) -> Callable[[str], Any]:
    """What makes the value of a flag's text."""
    wanted = _type(item)

    def number(text: str) -> Any:
        return text if text in _words(item) else wanted(text)

    return number if _words(item) else wanted


def _to_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _convert(item: dataclasses.Field[Any], variable: str, text: str) -> Any:
    try:
        return _WORDS[text.lower()] if _type(item) is bool else _reader(item)(text)
    except (ValueError, KeyError):
        raise ValueError(f"{variable} must be {_expected(item)}, got {text!r}") from None
