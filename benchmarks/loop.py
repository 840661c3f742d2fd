"""The loop on a stream: classify, defer, refresh, and the teacher is asked less and less.

    python -m benchmarks.loop --data DIR/clinc150 [--intents 20] [--rounds 5] [--plot loop.png]

Starts from 300 labelled queries of CLINC150 (published by clinc/oos-eval) and replays the rest of its train and val
queries in rounds through a real Cascade whose teacher answers with gold; after each round `training.refresh` runs.
Agreement and coverage are on CLINC150's test queries of the same intents, which no round ever sees.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.certificate import read_rows
from inference.bundle import versions
from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.classifier import Classifier
from training.lifecycle.options import Options
from training.lifecycle.round import refresh
from training.student.config import Config

LABELLED = 300
RELOAD_S = 2.5  # a cascade looks for a new bundle once a second


@dataclass(frozen=True)
class Round:
    """What one round showed: shares of requests that were deferred, and that cost a call with the uniform sample's;
    then the bundle that serves after it."""

    requests: int
    deferred: float
    teacher_rate: float
    outcome: str
    coverage: float
    agreement: float | None


def stream(folder: Path, intents: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]], list[str]]:
    """The shuffled stream, the unseen test queries, and the intents."""
    rows, test = list(read_rows(folder, ("train.jsonl", "val.jsonl"))), list(read_rows(folder, ("test.jsonl",)))
    names = sorted({label for _, label in rows})
    names = random.Random(0).sample(names, intents) if intents else names
    rows = list(dict.fromkeys(row for row in rows if row[1] in names))
    random.Random(1).shuffle(rows)
    return rows, [row for row in test if row[1] in names], sorted(names)


class Gold:
    """A teacher that is always right, and counts what it is asked."""

    def __init__(self, rows: Sequence[tuple[str, str]]) -> None:
        self.labels = dict(rows)
        self.calls = 0

    def __call__(self, text: str) -> str:
        self.calls += 1
        return self.labels[text]


def serve(cascade: Cascade, gold: Gold, texts: Sequence[str]) -> tuple[float, float]:
    """Classify a round's queries; the shares of them deferred, and calls to the teacher, the sample's included."""
    before, deferred = gold.calls, 0
    for start in range(0, len(texts), 100):
        deferred += sum(answer.deferred for answer in cascade.classify_many(texts[start : start + 100]))
    time.sleep(RELOAD_S)  # background answers of the sample, and the log's writer
    return deferred / len(texts), (gold.calls - before) / len(texts)


def judge(home: Path, test: Sequence[tuple[str, str]]) -> tuple[float, float | None]:
    """Coverage and agreement among accepted of the serving bundle; nothing is accepted before there is one."""
    if not versions.serving(home):
        return 0.0, None
    classifier = Classifier.load(home)
    found = [(classifier.predict(text), label) for text, label in test]
    accepted = [prediction.intent == label for prediction, label in found if prediction.accepted]
    return len(accepted) / len(test), sum(accepted) / len(accepted) if accepted else None


def run(data: Path, intents: int, rounds: int, sample_rate: float, epochs: int) -> list[Round]:
    rows, test, names = stream(data, intents)
    gold = Gold(rows)
    start, rest = rows[:LABELLED], rows[LABELLED:]
    size = -(-len(rest) // rounds)
    done = []
    with tempfile.TemporaryDirectory() as place:
        base, models = Path(place) / "base", Path(place) / "models"
        base.mkdir()
        taxonomy = Taxonomy.of(names)
        (base / "taxonomy.toml").write_text(taxonomy.to_toml())
        lines = [json.dumps({"text": text, "label": label, "labeler": "human"}) + "\n" for text, label in start]
        (base / "train.jsonl").write_text("".join(lines))
        config = Config(data=str(base), name="loop", models=str(models), epochs=epochs)
        options = Options(log=str(models / "loop" / "decisions.db"), least_calibration=150)
        (models / "loop").mkdir(parents=True)
        settings = {"sample_rate": sample_rate, "deadline_s": 30.0, "concurrency": 8}
        with Cascade.load(models / "loop", gold, taxonomy=taxonomy, **settings) as cascade:
            for number in range(rounds):
                texts = [text for text, _ in rest[number * size : (number + 1) * size]]
                rates = serve(cascade, gold, texts)
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    summary = refresh(config, options)
                time.sleep(RELOAD_S)
                done.append(Round(len(texts), *rates, summary.outcome, *judge(models / "loop", test)))
                show(number + 1, done[-1], summary.reasons)
    return done


def show(number: int, found: Round, reasons: Sequence[str]) -> None:
    agreement = "-" if found.agreement is None else f"{found.agreement:.1%}"
    rates = f"{found.deferred:>10.1%}{found.teacher_rate:>14.1%}"
    line = f"{number:>5}{found.requests:>10}{rates}{found.coverage:>10.1%}{agreement:>11}"
    print(f"{line}  {found.outcome} {'; '.join(reasons)}", flush=True)


def draw(found: Sequence[Round], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5))
    numbers = range(1, len(found) + 1)
    axes.plot(numbers, [item.deferred for item in found], "o-", label="requests deferred")
    axes.plot(numbers, [item.teacher_rate for item in found], "v-", label="teacher calls, uniform sample included")
    axes.plot(numbers, [item.coverage for item in found], "s-", label="coverage on unseen test")
    axes.plot(numbers, [item.agreement for item in found], "^-", label="agreement among accepted, unseen test")
    axes.axhline(0.95, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="round", ylim=(0, 1.02), xticks=list(numbers))
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--intents", type=int, default=20, help="how many of the 150; 0: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sample-rate", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--plot", type=Path, help="write a plot here")
    arguments = parser.parse_args()
    head = f"{'round':>5}{'requests':>10}{'deferred':>10}{'teacher calls':>14}"
    print(f"{head}{'coverage':>10}{'agreement':>11}  after the round")
    found = run(arguments.data, arguments.intents, arguments.rounds, arguments.sample_rate, arguments.epochs)
    if arguments.plot:
        draw(found, arguments.plot)


if __name__ == "__main__":
    main()
