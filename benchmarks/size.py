"""What `training.dataset` takes for a million rows: python -m benchmarks.size [--rows N] [--quick] [--data FOLDER].

The rows are made here: half are edits of sentences from a folder of data, half come from templates, and 200 intents
share them. A tenth of the rows is measured as well, with as many rows of every sentence and every template, so that the
exponent says how the processor's time grows. Recall is the share of the exact pairs of near-duplicates that end in one
group, of rows drawn from the edits and from the templates. It exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from training.data.duplicates import near_groups
from training.data.noise import with_typos
from training.data.shingles import THRESHOLD, Sets
from training.data.source import read_source

INTENTS, EDITED_INTENTS = 200, 150
OF_A_TEXT, OF_A_TEMPLATE = 30, 2_500  # rows, whatever the number of all rows
MINUTES, GIGABYTES, EXPONENT, RECALL = 10.0, 4.0, 1.15, 0.99
DRAWN = 300  # rows of each kind whose near-duplicates are all looked for
FILLERS = ("please", "now", "thanks", "asap", "hello", "actually", "again", "today", "kindly", "just")
NAMES = tuple(
    f"{first}{last}" for first in ("an", "bo", "car", "da", "el", "fi") for last in ("na", "ris", "mon", "la")
)


class Cost(NamedTuple):
    """What one run took: seconds by the clock and of the processor."""

    rows: int
    seconds: float
    processor: float
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
    for hole in ("{number}", *rng.sample(("{name}", "{day}"), rng.randrange(3))):
        words.insert(rng.randrange(len(words)), hole)
    return " ".join(words)


def filled(pattern: str, rng: random.Random) -> str:
    """The template with something in its holes."""
    return pattern.format(name=rng.choice(NAMES), number=rng.randrange(100_000), day=rng.randrange(1, 29))


def made(rows: int, seeds: Sequence[tuple[str, str]], seed: int = 0) -> Iterator[dict[str, str]]:
    """`rows` records with distinct texts, half of them edits of the (text, label) pairs `seeds`, in a random order."""
    rng = random.Random(seed)
    texts = rng.sample(list(seeds), min(len(seeds), max(1, math.ceil(rows / 2 / OF_A_TEXT))))
    vocabulary = sorted({word for text, _ in texts for word in text.split() if word.isalpha()} | set(FILLERS))
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
    """The distinct sentences of a folder's texts, with one of EDITED_INTENTS labels: large intents are parted."""
    found: dict[str, str] = {}
    for row in read_source(str(folder)).rows:
        for sentence in re.split(r"[.?!;\n]+(?:\s|$)", row.text):
            if 3 <= len(sentence.split()) <= 20 and row.label != "oos":
                found.setdefault(sentence, row.label)
    parts = math.ceil(EDITED_INTENTS / len(set(found.values())))
    seen: collections.Counter[str] = collections.Counter()
    for text, label in found.items():
        found[text] = f"{label} {seen[label] % parts}"
        seen[label] += 1
    return list(found.items())


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
    spent = usage.ru_utime + usage.ru_stime
    return Cost(rows, time.perf_counter() - began, spent, usage.ru_maxrss / 1024)


def recall(texts: Sequence[str], drawn: Sequence[int], groups: np.ndarray) -> float:
    """The share of the pairs of near-duplicates with one of the rows `drawn` that are in one of the groups."""
    sets = Sets.of(texts)
    wanted = np.unique(sets.of_rows(np.array(drawn))[0])
    places = np.flatnonzero(np.isin(sets.values, wanted))
    places = places[np.argsort(sets.values[places], kind="stable")]
    owners = np.searchsorted(sets.starts, places, "right") - 1
    values = sets.values[places]
    found = [0, 0]
    for row in drawn:
        own = sets.values[sets.starts[row] : sets.starts[row + 1]]
        edges = (np.searchsorted(values, own, side) for side in ("left", "right"))
        holders = np.concatenate([owners[start:end] for start, end in zip(*edges, strict=True)])
        shared = np.bincount(holders, minlength=len(texts))
        near = np.flatnonzero(shared >= THRESHOLD * (sets.sizes + len(own) - shared))
        near = near[near != row]
        found[0] += len(near)
        found[1] += int((groups[near] == groups[row]).sum())
    return found[1] / max(found[0], 1)


def recalls(folder: Path) -> dict[str, float]:
    """Recall for rows drawn from the edits and from the templates of a folder that `write` made."""
    with (folder / "queries.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    texts = [record["text"] for record in records]
    kinds: dict[str, list[int]] = {"edits": [], "templates": []}
    for i, record in enumerate(records):
        kinds["templates" if record["label"].startswith("template") else "edits"].append(i)
    rng, groups = random.Random(0), near_groups(texts)
    return {kind: recall(texts, rng.sample(rows, min(DRAWN, len(rows))), groups) for kind, rows in kinds.items()}


def run(rows: int, data: Path, home: Path) -> dict[str, tuple[float, float]]:
    """Measure a tenth of the rows and all of them in the folder `home`; each figure with its bar."""
    seeds = seeds_of(data)
    for count in (rows // 10, rows):
        write(home / str(count), count, seeds)
    few, many, again = (measured(home / str(count), count) for count in (rows // 10, rows, rows))
    print(f"{'rows':>10}{'seconds':>10}{'processor':>11}{'peak MB':>10}")
    for cost, note in ((few, ""), (many, ""), (again, "again")):
        print(f"{cost.rows:>10}{cost.seconds:>10.1f}{cost.processor:>11.1f}{cost.megabytes:>10.0f}  {note}")
    figures = {
        "minutes": (many.seconds / 60, MINUTES),
        "gigabytes": (many.megabytes / 1024, GIGABYTES),
        "exponent": (math.log10(many.processor / few.processor), EXPONENT),
    }
    # Negative, so that less is better for each figure.
    return figures | {f"recall of {kind}": (-share, -RECALL) for kind, share in recalls(home / str(rows)).items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Time, memory and recall of training.dataset for many rows.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="100,000 rows")
    parser.add_argument("--data", type=Path, default=Path("data/support"), help="rows whose sentences are edited")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as home:
        figures = run(100_000 if arguments.quick else arguments.rows, arguments.data, Path(home))
    for name, (value, bar) in figures.items():
        print(f"{name:<22}{abs(value):>8.3f}  bar {abs(bar):g}{'' if value <= bar else '  MISSED'}")
    return int(any(value > bar for value, bar in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
