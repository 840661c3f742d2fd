"""The deterministic tier: keyword rules, each with the precision that was measured for it.

A keyword is found whatever its case, with any white space between its words, and only as whole words: "refund" is in
"REFUND, please" and not in "refunds". The rules themselves stand in taxonomy.toml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.bundle.taxonomy import Rule, Taxonomy

EARNED = 0.8  # the confidence above which a rule may answer where no certificate is asked for


@dataclass(frozen=True)
class MeasuredRule:
    """What a rule showed on the dev split: how often it fired, and how often its intent was the label.

    `confidence` is (right + 1) / (fired + 2), Laplace's estimate: a rule that fired twice, rightly, has earned less
    trust than one that did so a hundred times, and one that never fired has 0.5.
    """

    name: str
    intent: str
    fired: int
    right: int
    confidence: float

    @property
    def earned(self) -> bool:
        return self.confidence > EARNED


class Rules:
    """Rules, compiled and ranked by measured confidence. Immutable, so threads may share it."""

    def __init__(self, rules: Iterable[Rule], measured: Iterable[MeasuredRule] = ()) -> None:
        self.confidence = {found.name: found.confidence for found in measured}
        ranked = sorted(rules, key=lambda rule: -self.confidence.get(rule.name, 0.0))
        self._compiled = tuple(_Compiled(rule) for rule in ranked)

    @classmethod
    def for_target(
        cls, taxonomy: Taxonomy, measured: Sequence[MeasuredRule], target: float, own: Mapping[str, float] | None = None
    ) -> Rules:
        """The rules of the local tier for a certificate's target: those whose measured confidence reaches it.

        They answer only where that certificate has a threshold: without one nothing is certified, rules included.
        `own` are the targets of intents that have one of their own: it counts for their rules instead.
        """
        own = own or {}
        return cls._of(taxonomy, [found for found in measured if found.confidence >= own.get(found.intent, target)])

    @classmethod
    def earned(cls, taxonomy: Taxonomy, measured: Sequence[MeasuredRule]) -> Rules:
        """The rules that may answer without a certificate: those whose measured confidence is above `EARNED`.

        It must reach the intent's own target too, where there is one.
        """
        own = taxonomy.targets
        return cls._of(taxonomy, [one for one in measured if one.earned and one.confidence >= own.get(one.intent, 0)])

    @classmethod
    def _of(cls, taxonomy: Taxonomy, measured: Sequence[MeasuredRule]) -> Rules:
        names = {found.name for found in measured}
        return cls([rule for rule in taxonomy.rules if rule.name in names], measured)

    def __len__(self) -> int:
        return len(self._compiled)

    def match(self, text: str) -> Rule | None:
        """The most confident rule that fires on `text`, the first written where two are equal; None where none does.

        `confidence[rule.name]` is how sure it is. Takes time linear in the length of the text.
        """
        if not self._compiled:
            return None
        folded = _fold(text)
        for compiled in self._compiled:
            if compiled.fires(folded):
                return compiled.rule
        return None


def measure(rules: Sequence[Rule], texts: Sequence[str], labels: Sequence[str]) -> tuple[MeasuredRule, ...]:
    """Measure each rule by itself on labelled texts, in the order of `rules`."""
    folded = [_fold(text) for text in texts]
    return tuple(_measured(_Compiled(rule), folded, labels) for rule in rules)


def _measured(compiled: _Compiled, folded: Sequence[str], labels: Sequence[str]) -> MeasuredRule:
    rule = compiled.rule
    found = [label for text, label in zip(folded, labels, strict=True) if compiled.fires(text)]
    right = found.count(rule.intent)
    return MeasuredRule(rule.name, rule.intent, len(found), right, (right + 1) / (len(found) + 2))


class _Compiled:
    """A rule with its keywords folded once."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._any, self._all, self._none = (tuple(map(_fold, words)) for words in (rule.any, rule.all, rule.none))

    def fires(self, folded: str) -> bool:
        # Loops, not any() and all(): a generator costs more than the search in a text of usual length.
        for keyword in self._any:
            if _has(folded, keyword):
                break
        else:
            return False
        return all(_has(folded, word) for word in self._all) and not any(_has(folded, word) for word in self._none)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _has(text: str, keyword: str) -> bool:
    start = text.find(keyword)
    while start >= 0:
        if not (_inside_word(text, start) or _inside_word(text, start + len(keyword))):
            return True
        start = text.find(keyword, start + 1)
    return False


def _inside_word(text: str, at: int) -> bool:
    """Whether a word goes on across the place before character `at`."""
    return 0 < at < len(text) and _is_word(text[at - 1]) and _is_word(text[at])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
