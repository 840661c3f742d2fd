"""A tiny data set and a tiny base model, so that tests exercise the real pipeline in seconds."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from inference.bundle.taxonomy import Taxonomy

VERBS = ["stop", "check", "explain", "change", "open", "send", "find", "undo", "repeat", "start"]
THINGS = {
    "payments": ["invoice", "refund", "charge", "receipt", "discount", "plan price", "card fee", "billing date"],
    "account": ["password", "login", "email address", "profile", "security code", "team role", "username", "access"],
    "unknown": ["zebra", "sonnet", "volcano", "trumpet", "comet", "pancake", "glacier", "chess opening"],
}
TAIL = ["please", "today", "for me", "once more", "as agreed", "right now"]


def tiny_rows() -> list[dict[str, str]]:
    """About 440 distinct rows; the word that decides is always there."""
    rows = [
        {"text": f"{verb} the {thing} {tail}", "label": label}
        for label, things in THINGS.items()
        for i, (verb, thing) in enumerate(itertools.product(VERBS, things))
        for tail in sorted({TAIL[i % 6], TAIL[(i + 1 + i // 6) % 6]})
    ]
    random.Random(0).shuffle(rows)
    return rows


TAXONOMY = Taxonomy.of(THINGS, out_of_scope=["unknown"])


def write_tiny_data(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "taxonomy.toml").write_text(TAXONOMY.to_toml())
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny_rows()))
    return folder


def write_tiny_base(folder: Path) -> Path:
    import torch
    from transformers import BertConfig, BertModel

    from training.student.model import resolve_base

    source = Path(resolve_base("all-MiniLM-L6-v2").location)
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(source / name, folder / name)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    return folder


TINY_SETTINGS = ("--epochs", "2", "--learning-rate", "1e-3", "--feed-forward-share", "0.5")


def fail_on_a_full_disk(monkeypatch: Any) -> None:
    """Have training fail as torch does on a full disk, and the system say that the disk is full."""
    from training.lifecycle import pipeline

    def fail(*arguments: object) -> None:
        raise RuntimeError("enforce fail at inline_container.cc")

    monkeypatch.setattr(pipeline.fit, "train", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))


def training_command(*flags: str) -> list[str]:
    return [sys.executable, "-m", "training.train", *TINY_SETTINGS, *flags]


def run_training(*flags: str) -> str:
    """Run the real command to its end and return what it printed."""
    return subprocess.run(training_command(*flags), check=True, capture_output=True, text=True).stdout
