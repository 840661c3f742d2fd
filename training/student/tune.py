"""Fine-tune the student's upper layers; what the lower ones make of every row is computed once.

The lower layers of a pretrained encoder change little in fine-tuning, and are as good where they do not change at all
(Lee et al. 2019, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning"; measured: docs/LOG.md).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from training.student.config import Config
from training.student.layers import LAYOUTS, layers_of, lowest, only
from training.student.model import Collator, Item, Student, wanted
from training.student.probe import batches_by_length
from training.student.threads import bf16_is_faster, fastest

HEAD_FACTOR = 5.0
MOST_HIDDEN = 1 << 30  # numbers that are kept of the lower layers, in 16 bits each
Collate = Callable[[Sequence[Item]], dict[str, torch.Tensor]]


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


def frozen_layers(encoder: PreTrainedModel, config: Config) -> int:
    """How many layers, from the lowest, are not tuned. None of an architecture that is not in LAYOUTS."""
    if config.tune_embeddings or encoder.config.model_type not in LAYOUTS:
        return 0
    return round(config.frozen_share * len(layers_of(encoder)))


def fine_tune(
    student: Student,
    items: Sequence[Item],
    collate: Collator,
    config: Config,
    folder: Path,
    most_hidden: int = MOST_HIDDEN,
) -> None:
    """Tune `student` on tokenized rows, in place. `folder` holds the Trainer's checkpoints, from which it goes on.

    With more than `most_hidden` numbers for all rows, the frozen layers compute them anew at each step.
    """
    frozen = frozen_layers(student.encoder, config)
    student.encoder.get_input_embeddings().requires_grad_(config.tune_embeddings)
    if frozen:
        with lowest(student.encoder, frozen):
            student.encoder.requires_grad_(False)
    tokens = sum(len(item["input_ids"]) for item in items)
    if frozen and tokens * student.head.in_features <= most_hidden:
        items = _with_hidden(student, items, collate, frozen)
        with only(student.encoder, frozen):
            _tune(student, items, _on_top, config, folder)
    else:
        _tune(student, items, collate, config, folder)
    student.eval()


@torch.no_grad()
def _with_hidden(student: Student, items: Sequence[Item], collate: Collator, layers: int) -> list[Item]:
    """The items with what the lowest layers make of their tokens, as `hidden`: float16 of shape (tokens, hidden)."""
    student.eval()
    found = [dict(item) for item in items]
    with lowest(student.encoder, layers):
        for index in tqdm(list(batches_by_length(items, 64)), "lower layers", unit="batch", leave=False, disable=None):
            batch = collate.read([items[i] for i in index])
            for i, hidden in zip(index, student.encoder(**batch).last_hidden_state.half(), strict=True):
                found[i]["hidden"] = hidden[: len(items[i]["input_ids"])].clone()
    return found


def _on_top(items: Sequence[Item]) -> dict[str, torch.Tensor]:
    """Rows with `hidden` → padded tensors for the layers above, with a target distribution and a weight per row."""
    rows = [item["hidden"].float() for item in items]
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row), dtype=torch.int64) for row in rows], batch_first=True)
    return {"inputs_embeds": nn.utils.rnn.pad_sequence(rows, batch_first=True), "attention_mask": mask, **wanted(items)}


def _tune(student: Student, items: Sequence[Item], collate: Collate, config: Config, folder: Path) -> None:
    step = partial(_gradients, student, collate(items[: config.batch_size]))
    with fastest(step) as measure:
        trainer = _StudentTrainer(
            HEAD_FACTOR, model=student, args=_arguments(config, folder, bf16_is_faster(step)), train_dataset=items,
            data_collator=collate, callbacks=[_AtEachEpoch(measure)],
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    # Where it trains in bf16 the Trainer leaves a wrapper around `forward`, which would be exported with the student.
    trainer.accelerator.unwrap_model(student, keep_fp32_wrapper=False)
    student.cpu()  # from where it was trained


def _gradients(student: Student, batch: dict[str, torch.Tensor]) -> None:
    """What a step of training computes, but for the optimizer; it draws no chance and changes nothing."""
    tuned = [one for one in student.parameters() if one.requires_grad]
    with torch.random.fork_rng(devices=[]):
        torch.autograd.grad(student(**batch)["loss"], tuned, allow_unused=True)


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
