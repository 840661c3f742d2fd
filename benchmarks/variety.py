"""How varied is a data set, and how far did two labellers agree?

    python -m benchmarks.variety [data/support]

Prints size, exact duplicates, the share of rows that hold a five-word run of another row, the share of rows that begin
with the commonest 1 % of three-word openings, the kinds of business, the share of hard rows, and how far a second
labelling agreed before settling: rows labelled twice carry the second label, and `first` where the two differed.
"""

from __future__ import annotations

import argparse
import collections
from collections.abc import Sequence

from training.data.rows import Row
from training.data.source import read_source
from training.evaluation.slices import words

RUN, OPENING = 5, 3


def share_with_a_common_run(texts: Sequence[str]) -> float:
    """Share of texts that hold a run of five words which stands in another text."""
    runs = [{tuple(found[i : i + RUN]) for i in range(len(found) - RUN + 1)} for found in map(words, texts)]
    counts = collections.Counter(run for one in runs for run in one)
    return sum(any(counts[run] > 1 for run in one) for one in runs) / len(texts)


def share_of_common_openings(texts: Sequence[str]) -> float:
    """Share of texts that begin with one of the commonest 1 % of three-word openings."""
    openings = collections.Counter(tuple(words(text)[:OPENING]) for text in texts)
    most = openings.most_common(max(1, len(openings) // 100))
    return sum(count for _, count in most) / len(texts)


def agreement(rows: Sequence[Row]) -> tuple[int, float]:
    """How many rows were labelled twice, and on which share of them both labels agreed before anything was settled."""
    twice = [row for row in rows if "second" in row.extra]
    return len(twice), sum("first" not in row.extra for row in twice) / max(len(twice), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", default="data/support")
    rows = read_source(parser.parse_args().data).rows
    texts = [row.text for row in rows]
    twice, agreed = agreement(rows)
    lengths = sorted(len(words(text)) for text in texts)
    for name, value in (
        ("rows", len(rows)),
        ("exact duplicates", len(rows) - len({row.key for row in rows})),
        ("rows with a five-word run of another row", f"{share_with_a_common_run(texts):.1%}"),
        ("rows with one of the commonest openings", f"{share_of_common_openings(texts):.1%}"),
        ("kinds of business", len({row.extra.get("business") for row in rows})),
        ("hard rows", f"{sum(bool(row.extra.get('hard')) for row in rows) / len(rows):.1%}"),
        ("words at 5, 50, 95 %", ", ".join(str(lengths[len(rows) * p // 100]) for p in (5, 50, 95))),
        ("rows labelled twice", twice),
        ("of these, both labels agreed on", f"{agreed:.2%}"),
    ):
        print(f"{name:<42}{value}")


if __name__ == "__main__":
    main()
