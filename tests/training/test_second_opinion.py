from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import tiny_rows
from training.data.rows import PREFIX
from training.labelling.queries import to_query
from training.labelling.second_opinion import second_opinions


@pytest.mark.parametrize("prefix", [PREFIX, ""])  # as rows are written, and as they were before 0.3.0
def test_rows_with_a_wrong_label_are_asked_about_again(prefix: str, tmp_path: Path) -> None:
    rows = tiny_rows()[:150]
    wrong = [row["text"] for row in rows if row["label"] == "payments"][:6]
    queries = [to_query(row["text"], row, str) for row in rows]
    lines = []
    for row, query in zip(rows, queries, strict=True):
        said = {"query": query.id, "labeler": "anthropic:claude-haiku-5-5", "prompt_id": "prompt-1"}
        label = "unknown" if row["text"] in wrong else row["label"]
        lines.append({"text": row["text"], "label": label, **{prefix + name: said[name] for name in said}})
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = second_opinions(labels, queries)
    assert {query.opinion for query in found} == {2}
    assert {query.text for query in found} & set(wrong)
