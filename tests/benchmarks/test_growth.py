import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from benchmarks import growth
from benchmarks.cells import Cells
from training.student.model import resolve_base


@pytest.mark.parametrize("tokens", growth.TOKENS)
def test_a_text_has_the_tokens_that_are_wanted(tokens: int) -> None:
    tokenizer = AutoTokenizer.from_pretrained(resolve_base("all-MiniLM-L6-v2").location)
    for text in growth.texts(tokens, 5):
        assert len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 == tokens


def test_what_was_measured_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "made", lambda folder, intents: folder / str(intents))
    monkeypatch.setattr(
        growth, "one", lambda home, tokens, threads, size: {"student ms": tokens, "home": int(home.name)}
    )
    monkeypatch.setattr(growth, "together", lambda count, *_: [10.0] * count)
    size = growth.Size(1, 0.1)
    first = list(growth.rows(tmp_path, size, Cells(tmp_path / "out.jsonl")))
    monkeypatch.setattr(growth, "one", None)
    monkeypatch.setattr(growth, "together", None)
    assert list(growth.rows(tmp_path, size, Cells(tmp_path / "out.jsonl"))) == first
    assert first[-1].split()[:3] == ["processes", "4", "40"]
    cells = [json.loads(line)["settings"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert {cell["intents"] for cell in cells if "intents" in cell} == set(growth.INTENTS)
