"""What `training.dataset` takes for up to a million rows: python -m benchmarks.size [--rows N] [--quick] [--data FOLDER].

The rows are made here: half are edits of the texts of a folder of data, half come from templates, and 200 intents share
them. A tenth of the rows is measured as well, with as many rows of every text and every template, so that the exponent
says how the time grows. Recall is the share of the pairs of near-duplicates, exact ones, that ended in one group: of
all pairs of rows drawn at random, and of those that are edits. It exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.noise import with_typos
from training.data.source import read_source

INTENTS, EDITED_INTENTS = 200, 150
OF_A_TEXT, OF_A_TEMPLATE = 23, 2_500  # rows, whatever the number of all rows
MINUTES, GIGABYTES, EXPONENT = 10.0, 4.0, 1.15
FILLERS = ("please", "now", "thanks", "asap", "hello", "actually", "again", "today", "kindly", "just")
NAMES = tuple(
    f"{first}{last}" for first in ("an", "bo", "car", "da", "el", "fi") for last in ("na", "ris", "mon", "la")
)


class Cost(NamedTuple):
    """What one run took."""

    rows: int
    seconds: float
    megabytes: float


def edited(text: str, rng: random.Random) -> str:
    """`text` with one or two small changes, as several people would write the same."""
    words = text.split()
    for _ in range(rng.choice((1, 1, 2))):
        place, kind = rng.randrange(len(words)), rng.randrange(4)
        if kind == 0:
            words.insert(place, rng.choice(FILLERS))
        elif kind == 1 and len(words) > 3:
            del words[place]
        elif kind == 2 and len(words) > 1:
            words[place - 1], words[place] = words[place], words[place - 1]
        else:
            words = with_typos(" ".join(words), rng).split() or words
    return " ".join(words)


def template(vocabulary: Sequence[str], rng: random.Random) -> str:
    """A sentence with one to three holes."""
    words = rng.sample(vocabulary, rng.randrange(7, 13))
    for hole in rng.sample(("{name}", "{number}", "{day}"), rng.randrange(2)) + ["{number}"]:
        words.insert(rng.randrange(len(words)), hole)
    return " ".join(words)


def filled(pattern: str, rng: random.Random) -> str:
    """The template with something in its holes."""
    return pattern.format(name=rng.choice(NAMES), number=rng.randrange(100_000), day=rng.randrange(1, 29))


def made(rows: int, seeds: Sequence[tuple[str, str]], seed: int = 0) -> Iterator[dict[str, str]]:
    """`rows` records with distinct texts, half of them edits of the (text, label) pairs `seeds`, in a random order."""
    rng = random.Random(seed)
    texts = rng.sample(list(seeds), min(len(seeds), max(1, math.ceil(rows / 2 / OF_A_TEXT))))
    vocabulary = sorted({word for text, _ in texts for word in text.split() if len(word) > 3 and word.isalpha()})
    patterns = [template(vocabulary, rng) for _ in range(max(2, rows // 2 // OF_A_TEMPLATE))]
    found: dict[str, str] = {}
    while len(found) < rows // 2:
        text, label = texts[len(found) % len(texts)]
        found.setdefault(edited(text, rng), label)
    while len(found) < rows:
        number = len(found) % len(patterns)
        found.setdefault(filled(patterns[number], rng), f"template {number % (INTENTS - EDITED_INTENTS)}")
    for text in rng.sample(sorted(found), rows):
        yield {"text": text, "label": found[text]}


def seeds_of(folder: Path) -> list[tuple[str, str]]:
    """The distinct texts of a folder, with one of EDITED_INTENTS labels: large intents are parted."""
    rows = {row.text: row.label for row in read_source(str(folder)).rows if row.label != "oos"}
    parts = math.ceil(EDITED_INTENTS / len(set(rows.values())))
    seen: collections.Counter[str] = collections.Counter()
    seeds = []
    for text, label in rows.items():
        seen[label] += 1
        seeds.append((text, f"{label} {seen[label] % parts}"))
    return seeds


def write(folder: Path, rows: int, seeds: Sequence[tuple[str, str]]) -> Path:
    """A folder with so many rows in one file."""
    folder.mkdir()
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in made(rows, seeds))
    return folder


def measured(folder: Path, rows: int) -> Cost:
    """What the command takes in a process of its own."""
    began = time.perf_counter()
    with (folder / "printed.txt").open("w") as printed:
        running = subprocess.Popen([sys.executable, "-m", "training.dataset", str(folder)], stdout=printed)
        _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"training.dataset ended with {running.returncode}")
    return Cost(rows, time.perf_counter() - began, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    seeds = seeds_of(Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as d:
        for n in map(int, sys.argv[3:]):
            f = write(Path(sys.argv[1]) / str(n), n, seeds)
