"""The intents: their names, what each one means, how ties are settled, keyword rules. Read from taxonomy.toml."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.common.text import canonical

TARGETS = 0.5, 0.999  # the least and the largest that an intent of its own may have


@dataclass(frozen=True)
class Intent:
    """One class of the taxonomy. `out_of_scope` marks the class for what the application cannot act on.

    `target` is the agreement that accepted answers with this intent are to have; None leaves them to the bundle's.
    Names take their canonical form, here as in a rule: "billing" and "billing " are one.
    """

    name: str
    definition: str = ""
    examples: tuple[str, ...] = ()
    out_of_scope: bool = False
    target: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", canonical(self.name))
        low, high = TARGETS
        if self.target is not None and not low <= self.target <= high:
            raise ValueError(f"intent {self.name!r}: target must be between {low} and {high}, got {self.target!r}")


@dataclass(frozen=True)
class Rule:
    """A keyword rule: a text with one of `any`, every one of `all` and none of `none` is of `intent`.

    A keyword is a word or a phrase; `inference.bundle.rules` says what counts as one.
    """

    name: str
    intent: str
    any: tuple[str, ...]
    all: tuple[str, ...] = ()
    none: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "intent", canonical(self.intent))
        if not self.name:
            raise ValueError("a rule has an empty name")
        if not self.any:
            raise ValueError(f"rule {self.name!r}: any has no keywords")
        if not all(keyword.strip() for keyword in (*self.any, *self.all, *self.none)):
            raise ValueError(f"rule {self.name!r} has an empty keyword")


@dataclass(frozen=True)
class Taxonomy:
    """All intents in output order, the sentences that settle a tie, first one first, and the keyword rules.

    Examples:
        >>> Taxonomy.load("taxonomy.toml").names
        ('account', 'payments', 'unknown')
    """

    intents: tuple[Intent, ...]
    ties: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if len(self.intents) < 2:
            raise ValueError(f"a taxonomy needs at least two intents, got {list(self.names)}")
        folded = [name.casefold() for name in self.names]
        if "" in folded:
            raise ValueError("an intent has an empty name")
        twice = sorted({name for name in self.names if folded.count(name.casefold()) > 1})
        if twice:
            raise ValueError(f"intent names must differ in more than upper and lower case: {', '.join(twice)}")
        self._check_rules()

    def _check_rules(self) -> None:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"duplicate rule name: {', '.join(twice)}")
        for rule in self.rules:
            if rule.intent not in self.names:
                raise ValueError(f"rule {rule.name!r} has unknown intent {rule.intent!r}; known are {list(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(intent.name for intent in self.intents)

    @property
    def out_of_scope(self) -> frozenset[str]:
        return frozenset(intent.name for intent in self.intents if intent.out_of_scope)

    @property
    def targets(self) -> dict[str, float]:
        """The intents that have a target of their own, by name."""
        return {intent.name: intent.target for intent in self.intents if intent.target is not None}

    def id(self) -> str:
        """A content id: equal taxonomies, equal id."""
        values = self._values()
        if not self.rules:
            del values["rules"]  # so that a taxonomy without rules keeps the id it had before there were any
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def question_id(self) -> str:
        """A content id of what a label of these intents means: names, definitions, examples, out_of_scope and ties.

        Neither the rules, the targets nor the order of the intents changes it.
        """
        intents = sorted((asdict(intent) for intent in self.intents), key=lambda intent: str(intent["name"]))
        for intent in intents:
            del intent["target"]
        return hashlib.sha256(json.dumps([intents, self.ties], sort_keys=True).encode()).hexdigest()

    @classmethod
    def of(cls, names: Iterable[str], out_of_scope: Iterable[str] = ()) -> Taxonomy:
        """A taxonomy of bare names, sorted, for data that comes without one. Names with one canonical form are one."""
        outside = frozenset(map(canonical, out_of_scope))
        return cls(tuple(Intent(name, out_of_scope=name in outside) for name in sorted(set(map(canonical, names)))))

    @classmethod
    def load(cls, path: str | Path) -> Taxonomy:
        """Read a taxonomy.toml. Raises ValueError naming the file and what is wrong with it."""
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # TOML and Unicode errors are ValueErrors too
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def parse(cls, text: str) -> Taxonomy:
        values = tomllib.loads(text.removeprefix("\ufeff"))
        _refuse_unknown("the file", values, {"intents", "ties", "rules"})
        intents = tuple(_intent(entry) for entry in _tables(values, "intents"))
        rules = tuple(_rule(entry) for entry in _tables(values, "rules"))
        return cls(intents, _strings("ties", values.get("ties", [])), rules)

    def to_toml(self) -> str:
        """The TOML text that `parse` reads back to an equal taxonomy. Needs the extra `train`."""
        import tomli_w

        values = self._values()
        # A rule without a list of keywords leaves it out: an empty one is refused.
        values["rules"] = [{key: value for key, value in rule.items() if value} for rule in values["rules"]]
        return tomli_w.dumps(values)

    def _values(self) -> dict[str, Any]:
        """The fields, without the targets that are not set: a taxonomy without any has the id that it always had."""
        values = asdict(self)
        for intent in values["intents"]:
            if intent["target"] is None:
                del intent["target"]
        return values


def _refuse_unknown(where: str, values: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{where} has unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _tables(values: dict[str, Any], name: str) -> list[dict[str, Any]]:
    tables = values.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        raise ValueError(f"{name} must be written as [[{name}]] tables")
    return tables


def _intent(entry: dict[str, Any]) -> Intent:
    name = entry.get("name")
    if not isinstance(name, str):
        raise ValueError(f"an intent needs a name, got {entry!r}")
    _refuse_unknown(f"intent {name!r}", entry, {"name", "definition", "examples", "out_of_scope", "target"})
    definition, outside = entry.get("definition", ""), entry.get("out_of_scope", False)
    if not isinstance(definition, str) or not isinstance(outside, bool):
        raise ValueError(f"intent {name!r}: definition must be a string and out_of_scope true or false")
    target = entry.get("target")
    if target is not None and type(target) not in (int, float):
        raise ValueError(f"intent {name!r}: target must be a number such as 0.99, got {target!r}")
    examples = _strings(f"intent {name!r}: examples", entry.get("examples", []))
    return Intent(name, definition, examples, outside, target)


def _rule(entry: dict[str, Any]) -> Rule:
    name, intent = entry.get("name"), entry.get("intent")
    if not isinstance(name, str) or not isinstance(intent, str):
        raise ValueError(f"a rule needs a name and an intent, got {entry!r}")
    _refuse_unknown(f"rule {name!r}", entry, {"name", "intent", "any", "all", "none"})
    if "any" not in entry:
        raise ValueError(f"rule {name!r} needs any, its list of keywords")
    lists = {key: _strings(f"rule {name!r}: {key}", entry[key]) for key in ("any", "all", "none") if key in entry}
    for key, keywords in lists.items():
        if not keywords:
            raise ValueError(f"rule {name!r}: {key} has no keywords")
    return Rule(name, intent, **lists)


def _strings(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where} must be a list of strings, got {value!r}")
    return tuple(value)
