from pathlib import Path

import numpy as np
import torch

from training.data.rows import Row
from training.student import model as student
from training.student import probe
from training.student.targets import dense

ROWS = [Row(str(i), text, label) for i, (text, label) in enumerate([("pay the bill", "a"), ("open the door", "b")] * 8)]


def test_the_probe_separates_what_is_separable(tiny_base: Path) -> None:
    torch.manual_seed(0)
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    items = student.encode(ROWS, made, tokenizer, 0.0)
    collate = student.Collator(tokenizer)
    features = probe.embeddings(made, items, collate)
    target = torch.from_numpy(dense([item["target"] for item in items]))
    probe.fit_probe(made.head, features, target, torch.ones(len(items)))
    with torch.no_grad():
        logits = made.head(features)
    assert logits.argmax(1).tolist() == [0, 1] * 8


def test_batches_hold_each_row_once_and_neighbours_in_length() -> None:
    items = [{"input_ids": [0] * n} for n in np.random.default_rng(0).integers(1, 30, 70)]
    batches = list(probe.batches_by_length(items, 16))
    assert sorted(i for batch in batches for i in batch) == list(range(70))
    longest = [max(len(items[i]["input_ids"]) for i in batch) for batch in batches]
    assert longest == sorted(longest)
