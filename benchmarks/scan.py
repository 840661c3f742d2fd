"""What `training.scan` foretells beside what training then certifies.

    python -m benchmarks.scan [--data ../shared/data] [--quick] [--cells FILE]

A cell is a data set, a number of rows and a target. The scan sees the rows once; training divides the same rows by
five salts, fits the student's head to the frozen encoder, whole and in fp32, and certifies it on the calibration rows
of each division. Nothing is fine-tuned or exported. A second table has the forecasts for two and four times as many
rows beside what training certified there. Finished cells are kept in FILE, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.cells import Cells
from benchmarks.coverage import divided
from training.data.kept import FIRST_SALT
from training.data.looks import look_delta
from training.data.rows import Row
from training.data.sizes import Goal
from training.evaluation.calibrate import fit_temperature
from training.evaluation.certificate import Sample, certify_goal
from training.evaluation.growth import FACTORS
from training.labelling.second_opinion import features
from training.lifecycle.scan import scan
from training.student import fit
from training.student.choose import Judges, choose
from training.student.config import Config
from training.student.model import Item, Student, name_as_text
from training.student.probe import embeddings
from training.student.targets import Target

TARGETS = (0.90, 0.95)
SPLITS = 5
CHANCE_WITHIN, COVERAGE_WITHIN, CELLS_WITHIN = 0.25, 0.08, 0.80
Embed = Callable[[Sequence[Row]], np.ndarray]
# Files, the field of the label, and sizes. No file is read on which others measure their models.
SOURCES = {
    "banking77-gpt4": (("banking77-gpt4/dev.jsonl",), "gpt4", (500, 750, 1000)),
    "support": (("support/queries.jsonl",), "label", (750, 1500, 3000)),
    "clinc150": (tuple(f"clinc150/{name}.jsonl" for name in ("train", "val", "oos_train", "oos_val")), "label",
                 (1500, 3000, 6000)),
}  # fmt: skip


def rows_of(data: Path, name: str, size: int) -> list[dict[str, str]]:
    """So many rows of a data set, the same ones each time; more of them hold the fewer."""
    files, label, _ = SOURCES[name]
    lines: dict[str, str] = {}
    for file in files:
        path = Path("data") / file if name == "support" else data / file
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line:
                row = json.loads(line)
                lines[row["text"]] = row[label]
    every = [{"text": text, "label": given} for text, given in lines.items()]
    order = np.random.default_rng(0).permutation(len(every))
    return [every[i] for i in order[:size]]


def goal_of(target: float) -> Goal:
    return Goal(target, look_delta(Config.delta, 1))


class Known(Student):
    """A student whose encoder stays as it came, and whose texts were all embedded before: a token id is a row."""

    def __init__(self, vectors: torch.Tensor, labels: Sequence[str]) -> None:
        encoder = SimpleNamespace(config=SimpleNamespace(hidden_size=vectors.shape[1]))
        super().__init__(encoder, labels)
        self.vectors = vectors

    def embed(self, input_ids: torch.Tensor, attention_mask: Any = None, **inputs: Any) -> torch.Tensor:
        return self.vectors[input_ids]


def collate(items: Sequence[Item]) -> dict[str, Any]:
    return {"input_ids": torch.tensor([item["input_ids"][0] for item in items]), "attention_mask": None}


def trained(rows: Sequence[dict[str, str]], split: int, embed: Embed) -> dict[str, Any]:
    """The certificate of each target by a student that was trained on one division of the rows."""
    data = divided(rows, f"split {split}", goal_of(TARGETS[0]))
    names = data.taxonomy.names
    every = [*data.rows, *(Row(name, name_as_text(name), name) for name in names)]
    index = {name: i for i, name in enumerate(names)}
    place = {row.id: i for i, row in enumerate(data.rows)}
    made = Known(torch.tensor(embed(every)), names)

    def items(part: Sequence[Row], smoothing: float = 0.0) -> list[Item]:
        return [
            {"input_ids": [place[row.id]], "target": Target.of(row, index, smoothing), "weight": row.weight}
            for row in part
        ]

    train, dev, calibration = data.split("train"), data.trials("dev"), data.trials("calibration")
    named = [{"input_ids": [len(data.rows) + i]} for i in range(len(names))]
    judges = Judges(items(train, Config.label_smoothing), items(dev), named, collate)
    found = fit.start_head(made, train, judges.train, embeddings(made, judges.train, collate), judges)
    choose(made, made.state_dict(), found.share, judges, (0.0,))

    def said(part: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            logits = (made.mixture or made.head)(made.vectors[[place[row.id] for row in part]])
        return logits.double().log_softmax(-1).numpy(), np.array([names.index(row.label) for row in part])

    parts = [said(part) for part in (dev, calibration)]
    temperature = fit_temperature(*parts[0])
    never = [names.index(name) for name in data.never_accepted]
    judged = [scores(*part, temperature, never) for part in parts]
    return {str(target): asdict(certify_goal(*judged, goal_of(target))) for target in TARGETS}


def scores(logits: np.ndarray, labels: np.ndarray, temperature: float, never: Sequence[int]) -> Sample:
    """Each row's confidence, -inf where the answer is never accepted, and whether it is right."""
    scaled = logits / temperature
    answers = scaled.argmax(1)
    confidence = np.exp(scaled.max(1)) / np.exp(scaled).sum(1)
    return np.where(np.isin(answers, never), -np.inf, confidence), answers == labels


def foretold(rows: Sequence[dict[str, str]], embed: Embed) -> dict[str, Any]:
    """What the scan says of each target: for n, 2n and 4n rows."""
    found = scan(divided(rows, FIRST_SALT, goal_of(TARGETS[0])), [goal_of(target) for target in TARGETS], embed)
    return {str(target): [asdict(outlook) for outlook in outlooks] for target, outlooks in found.outlooks.items()}


class Embedder:
    """Frozen embeddings, each text's once."""

    def __init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}

    def __call__(self, rows: Sequence[Row]) -> np.ndarray:
        new = [row for row in {row.text: row for row in rows}.values() if row.text not in self.known]
        if new:
            self.known |= zip([row.text for row in new], features(new, Config.base), strict=True)
        return np.stack([self.known[row.text] for row in rows])


def measured(divisions: Sequence[dict[str, Any]], target: float) -> tuple[float, float | None]:
    """The share of divisions that have a certificate, and their mean coverage."""
    found = [one[str(target)] for one in divisions]
    coverages = [one["coverage"] for one in found if one["accept_above"] is not None]
    return len(coverages) / len(found), float(np.mean(coverages)) if coverages else None


def near(said: tuple[float, float | None], found: tuple[float, float | None]) -> bool:
    """Whether a forecast is within the bars; coverages are compared where both have one."""
    (chance, coverage), (true_chance, true_coverage) = said, found
    if abs(chance - true_chance) > CHANCE_WITHIN + 1e-9:
        return False
    return coverage is None or true_coverage is None or abs(coverage - true_coverage) <= COVERAGE_WITHIN


def table(title: str, rows: Sequence[tuple[str, int, float, dict[str, Any], tuple[float, float | None]]]) -> int:
    """Print forecasts beside what training certified, and return how many are within the bars."""
    print(f"{title:<32}{'rows':>6}{'target':>8}{'chance':>9}{'trained':>9}{'coverage':>10}{'trained':>9}")
    good = 0
    for name, size, target, said, found in rows:
        within = near((said["chance"], said["coverage"]), found)
        good += within
        shown = [f"{said['chance']:.2f}", f"{found[0]:.2f}", *(percent(one) for one in (said["coverage"], found[1]))]
        figures = "".join(f"{one:>{width}}" for one, width in zip(shown, (9, 9, 10, 9), strict=True))
        print(f"{name:<32}{size:>6}{target:>8.2f}{figures}{'' if within else '  FAR'}")
    print(f"{good} of {len(rows)} within {CHANCE_WITHIN:.0%} and {COVERAGE_WITHIN:.0%}\n")
    return good


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--quick", action="store_true", help="the smallest size of each data set alone")
    parser.add_argument("--cells", type=Path, metavar="FILE", help="keep finished cells here")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    cells, said, found = Cells(arguments.cells), {}, {}
    for name, (_, _, sizes) in SOURCES.items():
        embed = Embedder()
        for size in sizes[:1] if arguments.quick else sizes:
            rows, cell = rows_of(arguments.data, name, size), {"data": name, "rows": size}
            forecast = cells.run({"what": "scan", **cell}, lambda rows=rows, embed=embed: foretold(rows, embed))
            divisions = [
                cells.run(
                    {"what": "train", "split": split, **cell},
                    lambda rows=rows, split=split, embed=embed: trained(rows, split, embed),
                )
                for split in range(SPLITS)
            ]
            for target in TARGETS:
                said[name, size, target] = forecast[str(target)]
                found[name, size, target] = measured(divisions, target)
    good = table("now", [(*key, said[key][0], found[key]) for key in said])
    verdict = "met" if good >= CELLS_WITHIN * len(said) else "MISSED"
    print(f"wanted: {CELLS_WITHIN:.0%} of the cells: {verdict}\n")
    later = [
        (f"{name}, from {size}", factor * size, target, said[name, size, target][i], found[name, factor * size, target])
        for name, size, target in said
        for i, factor in enumerate(FACTORS)
        if i and (name, factor * size, target) in found
    ]
    table("with more rows", later)


if __name__ == "__main__":
    main()
