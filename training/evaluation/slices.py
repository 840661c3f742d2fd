"""Slices of a split: the kinds of message on which a student may be worse than its average.

They are made from the rows' own fields (`hard`, `business`) and from simple tests on the text; the words that hint at
an intent are learned from the train split. The tests are rough: a slice is a place to look.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from inference.common.text import query_form
from training.data.rows import Row

SHORT, LONG = 4, 36  # words
FEWEST_ROWS = 20  # a smaller slice is not reported: its accuracy would be chance
# A word hints at an intent if so many rows hold it, and this share of them has the intent.
CUE_ROWS, CUE_SHARE = 15, 0.7
SECOND_WANT = re.compile(
    r"\b(also|as well|another thing|one more thing|on top of that|secondly|two things|by the way)\b"
)
# Function words of other languages in Latin letters that English does not have, and of English.
FOREIGN = re.compile(
    r"\b(el|los|las|una|que|por|para|mi|est|le|les|une|des|pas|je|vous|mon|ich|nicht|und|der|das|ist|wie|mein|não|uma"
    r"|meu|il|che|per|non|della|het|een|niet|ik|mijn|nie|jest|się|moje|bir|ve|için|kya|hai|nahi|mera)\b"
)
ENGLISH = re.compile(r"\b(the|a|to|my|is|i|you|it|and|of|in|for|not|on|do|how|what|your|can)\b")

Test = Callable[[Row], bool]


def cue_words(train: Iterable[Row]) -> dict[str, str]:
    """Word → the one intent that it hints at, learned from the train split."""
    labels: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in train:
        for word in set(words(row.text)):
            labels[word][row.label] += 1
    cues = {}
    for word, counts in labels.items():
        label, count = counts.most_common(1)[0]
        if counts.total() >= CUE_ROWS and count >= CUE_SHARE * counts.total():
            cues[word] = label
    return cues


def words(text: str) -> list[str]:
    """The words of a text, case folded."""
    return re.findall(r"\w+(?:['’]\w+)?", query_form(text))


def is_misleading(row: Row, cues: Mapping[str, str]) -> bool:
    """Whether words hint at other intents and none at the row's own."""
    hinted = {cues[word] for word in words(row.text) if word in cues}
    return bool(hinted) and row.label not in hinted


def is_foreign(row: Row) -> bool:
    """Whether the text is hardly English, by its script or its function words."""
    found = words(row.text)
    latin = sum(word.isascii() for word in found)
    if found and latin < len(found) / 2:
        return True
    foreign, english = (len(known.findall(" ".join(found))) for known in (FOREIGN, ENGLISH))
    return foreign >= 2 and foreign > english


def tests(train: Iterable[Row]) -> dict[str, Test]:
    """The slices by name, each a test on a row. A row may lie in several."""
    cues = cue_words(train)
    return {
        "hard": lambda row: row.extra.get("hard") is True,
        "short": lambda row: len(words(row.text)) <= SHORT,
        "long": lambda row: len(words(row.text)) >= LONG,
        "two wants": lambda row: bool(SECOND_WANT.search(query_form(row.text))) or row.text.count("?") > 1,
        "misleading words": lambda row: is_misleading(row, cues),
        "other languages": is_foreign,
    }


def slices(rows: Sequence[Row], train: Iterable[Row]) -> dict[str, list[int]]:
    """Slice name → indices into `rows`. Kinds of business are slices of their own; small slices are left out."""
    found = {name: [i for i, row in enumerate(rows) if test(row)] for name, test in tests(train).items()}
    for i, row in enumerate(rows):
        if isinstance(row.extra.get("business"), str):
            found.setdefault(f"business: {row.extra['business']}", []).append(i)
    return {name: members for name, members in found.items() if len(members) >= FEWEST_ROWS}
