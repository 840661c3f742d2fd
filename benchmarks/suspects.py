"""How many wrong labels stand among the first rows that `training.suspects` would show a person.

    python -m benchmarks.suspects --data data/support --rows 3000 --share 0.05

Of so many rows that train, a share gets another intent's label, drawn at random. There is no serving student and there
are no votes: what is measured is the out-of-fold student and the near-duplicates.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace

from training.data import dataset
from training.lifecycle.suspects import suspects
from training.student.config import Config


def main() -> None:
    parser = argparse.ArgumentParser(description="How many wrong labels training.suspects finds.")
    parser.add_argument("--data", default="data/support")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    data = dataset.load(arguments.data, whole=False, remember=False)
    rows = draw.sample(data.split("train"), min(arguments.rows, len(data.split("train"))))
    wrong = set(draw.sample(range(len(rows)), round(arguments.share * len(rows))))
    names = data.taxonomy.names
    given = [
        replace(row, label=draw.choice([name for name in names if name != row.label]), gold=None) if i in wrong else row
        for i, row in enumerate(rows)
    ]
    texts = {rows[i].text: rows[i].label for i in wrong}
    found = suspects(given, None, Config.base)
    print(f"{len(rows)} rows, {len(wrong)} with a wrong label; {len(found)} look suspect")
    for first in (len(wrong) // 2, len(wrong), 2 * len(wrong)):
        shown = found[:first]
        hits = [one for one in shown if one.text in texts]
        right = sum(one.guess == texts[one.text] for one in hits)
        print(f"of the first {first}: {len(hits)} wrong ({len(hits) / len(wrong):.0%} of all), right guess for {right}")


if __name__ == "__main__":
    main()
