"""The intents: their names, what each one means, and how ties are settled. Read from taxonomy.toml."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Intent:
    """One class of the taxonomy. `out_of_scope` marks the class for what the application cannot act on."""

    name: str
    definition: str = ""
    examples: tuple[str, ...] = ()
    out_of_scope: bool = False


@dataclass(frozen=True)
class Taxonomy:
    """All intents in output order, and the rules that settle a tie, first rule first."""

    intents: tuple[Intent, ...]
    ties: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.intents) < 2:
            raise ValueError(f"a taxonomy needs at least two intents, got {list(self.names)}")
        folded = [name.casefold() for name in self.names]
        if "" in folded:
            raise ValueError("an intent has an empty name")
        twice = sorted({name for name in self.names if folded.count(name.casefold()) > 1})
        if twice:
            raise ValueError(f"intents must differ in more than case: {', '.join(twice)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(intent.name for intent in self.intents)

    @property
    def out_of_scope(self) -> frozenset[str]:
        return frozenset(intent.name for intent in self.intents if intent.out_of_scope)

    def id(self) -> str:
        """A content id: equal taxonomies, equal id."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, names: Iterable[str], out_of_scope: Iterable[str] = ()) -> Taxonomy:
        """A taxonomy of bare names, sorted, for data that comes without one."""
        outside = frozenset(out_of_scope)
        return cls(tuple(Intent(name, out_of_scope=name in outside) for name in sorted(set(names))))

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a taxonomy.toml. Raises ValueError naming the file and what is wrong with it."""
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # TOML and Unicode errors are ValueErrors too
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Taxonomy:
        values = tomllib.loads(text)
        _refuse_unknown("the file", values, {"intents", "ties"})
        intents, ties = values.get("intents", []), values.get("ties", [])
        if not isinstance(intents, list) or not all(isinstance(entry, dict) for entry in intents):
            raise ValueError("intents must be written as [[intents]] tables")
        return cls(tuple(_intent(entry) for entry in intents), _strings("ties", ties))

    def to_toml(self) -> str:
        """The TOML text that `parse` reads back to an equal taxonomy."""
        lines = [f"ties = {_array(self.ties)}"]
        for intent in self.intents:
            lines += ["", "[[intents]]", f"name = {_quote(intent.name)}", f"definition = {_quote(intent.definition)}"]
            lines.append(f"examples = {_array(intent.examples)}")
            lines.append(f"out_of_scope = {str(intent.out_of_scope).lower()}")
        return "\n".join(lines) + "\n"


def _refuse_unknown(where: str, values: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where} has unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _intent(entry: dict[str, Any]) -> Intent:
    name = entry.get("name")
    if not isinstance(name, str):
        raise ValueError(f"an intent needs a name, got {entry!r}")
    _refuse_unknown(f"intent {name!r}", entry, {"name", "definition", "examples", "out_of_scope"})
    definition, outside = entry.get("definition", ""), entry.get("out_of_scope", False)
    if not isinstance(definition, str) or not isinstance(outside, bool):
        raise ValueError(f"intent {name!r}: definition must be a string and out_of_scope true or false")
    return Intent(name, definition, _strings(f"intent {name!r}: examples", entry.get("examples", [])), outside)


def _strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be a list of strings, got {value!r}")
    return tuple(value)


def _quote(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(items: Iterable[str]) -> str:
    return "[" + ", ".join(_quote(item) for item in items) + "]"
