"""Fine-tune the student: narrowing, linear probe, then all layers, and the choice of what is kept."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments

from training.data.noise import add_noise
from training.data.rows import Row
from training.student.choose import Judges, choose, in_order
from training.student.config import Config
from training.student.folds import Opinion, opinion, out_of_fold
from training.student.model import (
    Base,
    Collator,
    Item,
    Student,
    batches_of_equal_length,
    encode,
    load_base,
    name_as_text,
)
from training.student.narrow import narrow
from training.student.probe import embeddings, fit_probe
from training.student.targets import CELLS, dense
from training.student.threads import bf16_is_faster, fastest

HEAD_FACTOR = 5.0
NARROWING_ROWS = 3000
STEP_PER_EMBEDDING = 4.0  # how many times as long a row takes to train as to embed


@torch.no_grad()
def _run_unpadded(student: Student, items: Sequence[Item]) -> None:
    rows = [item["input_ids"] for item in items]
    for index in batches_of_equal_length(rows):
        ids = torch.tensor([rows[i] for i in index])
        student.encoder(input_ids=ids)


class _StudentTrainer(Trainer):
    """transformers.Trainer with the head learning faster than the encoder, and batches of like length."""

    def __init__(self, head_factor: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.head_factor = head_factor

    def create_optimizer(self) -> torch.optim.Optimizer:
        model: Any = self.model
        rate = self.args.learning_rate
        body = [p for p in model.encoder.parameters() if p.requires_grad]
        groups = [{"params": body, "lr": rate}, {"params": model.head.parameters(), "lr": rate * self.head_factor}]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        return self.optimizer


class _AtEachEpoch(TrainerCallback):
    """Calls a function before each pass over the rows."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def on_epoch_begin(self, *arguments: Any, **more: Any) -> None:
        self._call()


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
    items, collate = everything[: len(rows)], Collator(tokenizer)
    sample = [items[i] for i in np.random.default_rng(config.seed).permutation(len(items))[:NARROWING_ROWS]]
    judges = Judges(
        items,
        encode([row for row in dev if row.label], student, tokenizer, 0.0),
        encode([Row(label, name_as_text(label), label) for label in labels], student, tokenizer, 0.0),
        collate,
    )
    with fastest(partial(_gradients, student, collate(sample[: config.batch_size]))) as measure:
        narrow(student.encoder, config.feed_forward_share, lambda: _run_unpadded(student, sample))
        tried = _fit(student, rows, everything, judges, config, folder, measure)
    return student, tokenizer, tried


def _gradients(student: Student, batch: dict[str, torch.Tensor]) -> None:
    """What a step of training computes, but for the optimizer; it draws no chance and changes nothing."""
    tuned = [one for one in student.parameters() if one.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.autograd.grad(student(**batch)["loss"], tuned, allow_unused=True)


def _fit(
    student: Student,
    rows: Sequence[Row],
    everything: Sequence[Item],
    judges: Judges,
    config: Config,
    folder: Path,
    measure: Callable[[], None],
) -> list[dict[str, Any]]:
    """Fit the head, fine-tune and choose; what was tried. `everything` is the rows and then their noisy copies."""
    labels, items, collate = student.labels, judges.train, judges.collate
    some = sorted(drawn(len(rows), CELLS // len(labels), config.seed).tolist())
    began = time.perf_counter()
    features = embeddings(student, [items[i] for i in some], collate)
    seconds = (time.perf_counter() - began) * STEP_PER_EMBEDDING * len(everything) / len(some) * config.epochs
    found = start_head(student, [rows[i] for i in some], [items[i] for i in some], features, judges)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    if tunes := not config.minutes or seconds <= 60 * config.minutes:
        _fine_tune(student, everything, collate, config, folder, measure)
    else:
        print(f"fine-tuning would take about {seconds / 60:.1f} minutes: the encoder stays as it came")
    shares = in_order(found.agreement) if tunes else (0.0,)
    return choose(student, start, found.share, judges, shares) if judges.dev else []


def _fine_tune(
    student: Student,
    items: Sequence[Item],
    collate: Collator,
    config: Config,
    folder: Path,
    measure: Callable[[], None],
) -> None:
    student.encoder.get_input_embeddings().requires_grad_(config.tune_embeddings)
    bf16 = bf16_is_faster(partial(_gradients, student, collate(items[: config.batch_size])))
    trainer = _StudentTrainer(
        HEAD_FACTOR, model=student, args=_arguments(config, folder, bf16), train_dataset=items, data_collator=collate,
        callbacks=[_AtEachEpoch(measure)],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    # Where it trains in bf16 the Trainer leaves a wrapper around `forward`, which would be exported with the student.
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)
    student.eval()


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


def _arguments(config: Config, folder: Path, bf16: bool) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        per_device_train_batch_size=config.batch_size,
        warmup_ratio=0.1,
        lr_scheduler_type="linear",
        group_by_length=True,
        seed=config.seed,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="epoch",
        save_total_limit=1,
        logging_strategy="epoch",
        report_to="none",
        remove_unused_columns=False,
    )


def _last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint; one that a kill left half-written is removed."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text())  # the Trainer writes it last
            return str(path)
        except (OSError, ValueError):
            shutil.rmtree(path)
    return None
