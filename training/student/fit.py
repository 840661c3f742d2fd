"""Make the student: narrowing, linear probe, then fine-tuning, and the choice of what is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from inference.bundle.engine import of_equal_length
from training.data.noise import add_noise
from training.data.rows import Row
from training.student.choose import Judges, choose, in_order
from training.student.config import Config
from training.student.folds import Opinion, opinion, out_of_fold
from training.student.model import (
    BATCH_TOKENS,
    Base,
    Collator,
    Item,
    Student,
    encode,
    load_base,
    name_as_text,
)
from training.student.narrow import narrow
from training.student.probe import embeddings, fit_probe
from training.student.targets import CELLS, dense
from training.student.threads import fastest
from training.student.tune import fine_tune, frozen_layers

NARROWING_TOKENS = 40_000
STEP_PER_EMBEDDING = 4.0  # how many times as long a row takes to train as to embed, where all layers are tuned


def _sample(items: Sequence[Item], seed: int) -> list[Item]:
    """Items drawn at random, of about NARROWING_TOKENS together, or all."""
    order = np.random.default_rng(seed).permutation(len(items))
    before = np.cumsum([0, *(len(items[i]["input_ids"]) for i in order)])
    return [items[i] for i in order[before[:-1] < NARROWING_TOKENS]]


def _unpadded(items: Sequence[Item]) -> list[torch.Tensor]:
    """The token ids of some rows, in batches of one length each."""
    rows = [item["input_ids"] for item in items]
    return [torch.tensor([rows[i] for i in places]) for places in of_equal_length(rows, BATCH_TOKENS)]


def train(
    rows: Sequence[Row],
    labels: Sequence[str],
    base: Base,
    config: Config,
    folder: Path,
    dev: Sequence[Row] = (),
) -> tuple[Student, Any, list[dict[str, Any]]]:
    """Fine-tune on `rows` (the train split) and return the student, its tokenizer, and what was tried on `dev`.

    Without `dev` rows the fine-tuned student is kept as it is. `folder` holds the Trainer's checkpoints: called again
    after a kill, training goes on from the last epoch.
    """
    transformers.set_seed(config.seed)
    student, tokenizer = load_base(base, labels, config.max_tokens)
    copies = noisy_copies(rows, config.noisy_copies, config.seed)
    everything = encode([*rows, *copies], student, tokenizer, config.label_smoothing)
    judges = Judges(
        everything[: len(rows)],
        encode([row for row in dev if row.label], student, tokenizer, 0.0),
        encode([Row(label, name_as_text(label), label) for label in labels], student, tokenizer, 0.0),
        Collator(tokenizer),
    )
    # All but fine-tuning runs forward alone, which is fast with the same number of threads.
    forward = partial(embeddings, student, judges.train[: config.batch_size], judges.collate)
    with fastest(forward):
        narrow(student.encoder, config.feed_forward_share, _unpadded(_sample(judges.train, config.seed)))
        found, seconds = _started(student, rows, judges, config.seed)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    if tunes := _in_time(seconds * len(everything) * config.epochs, student, config):
        fine_tune(student, everything, judges.collate, config, folder)
    with fastest(forward):
        shares = in_order(found.agreement) if tunes else (0.0,)
        tried = choose(student, start, found.share, judges, shares) if judges.dev else []
    return student, tokenizer, tried


def _started(student: Student, rows: Sequence[Row], judges: Judges, seed: int) -> tuple[Opinion, float]:
    """Start the head; what the rows say of each other, and the seconds that a row takes to embed."""
    some = sorted(drawn(len(rows), CELLS // len(student.labels), seed).tolist())
    items = [judges.train[i] for i in some]
    began = time.perf_counter()
    features = embeddings(student, items, judges.collate)
    seconds = (time.perf_counter() - began) / len(some)
    return start_head(student, [rows[i] for i in some], items, features, judges), seconds


def _in_time(to_embed: float, student: Student, config: Config) -> bool:
    """Whether there is time to fine-tune on rows that would take `to_embed` seconds to embed; says so if not."""
    tuned = 1 - config.frozen_share if frozen_layers(student.encoder, config) else 1.0
    minutes = to_embed * STEP_PER_EMBEDDING * tuned / 60
    if not config.minutes or minutes <= config.minutes:
        return True
    print(f"fine-tuning would take about {minutes:.1f} minutes: the encoder stays as it came")
    return False


def drawn(rows: int, most: int, seed: int) -> np.ndarray:
    """The places of all rows in their order, or of `most` of them drawn at random, in the order of the draw."""
    return np.arange(rows) if rows <= most else np.random.default_rng(seed).permutation(rows)[:most]


def start_head(
    student: Student, rows: Sequence[Row], items: Sequence[Item], features: torch.Tensor, judges: Judges
) -> Opinion:
    """Fit the head to the frozen encoder; return what the rows say of each other, where there is a dev to judge by."""
    target = torch.from_numpy(dense([item["target"] for item in items]))
    weight = torch.tensor([row.weight for row in rows], dtype=torch.float32)
    decay = fit_probe(student.head, features, target, weight)
    print(f"the linear probe chose a weight decay of {decay:g}")
    if not judges.dev:
        return Opinion()
    names = embeddings(student, judges.names, judges.collate)
    found = opinion(out_of_fold(rows, features, target, weight, names, decay), target.numpy())
    print(
        f"the other rows agree with {found.agreement:.1%} of the labels; class centres get {found.share:g} of an answer"
    )
    return found


def noisy_copies(rows: Sequence[Row], copies: int, seed: int) -> list[Row]:
    """Every row `copies` times more, each time with other noise in its text."""
    rng = random.Random(seed)
    return [replace(row, text=add_noise(row.text, rng)) for _ in range(copies) for row in rows]
