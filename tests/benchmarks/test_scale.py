import json
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.stores import Servers


def test_it_measures_serving_ledger_and_contention_and_goes_on_where_it_was(
    tiny_home: Path,
    tiny_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "scale.jsonl"
    arguments = ["--quick", "--bundle", str(tiny_home), "--data", str(tiny_data), "--out", str(out)]
    scale.main(arguments)
    printed = capsys.readouterr().out
    cells = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    parts = {part: [c["figures"] for c in cells if c["settings"]["part"] == part] for part in ("serving", "old")}
    assert [len(figures) for figures in parts.values()] == [len(scale.QUICK.processes), len(scale.QUICK.old)]
    for figures in parts["serving"]:
        assert figures["requests/s"] > 0
        assert 0.2 < figures["log rows"] < 4  # decisions but for hits, answers, counts
        assert figures["log bytes"] > 100
        assert 0 < figures["calls"] < 1
        assert figures["ledger rows"] < 0.1  # what is settled leaves no row
        assert figures["postgres cpu ms"] > 0
    redis = parts["serving"][1]["redis"]
    assert redis["hits"] + redis["slow"] > 0  # what the other process learned is found, where Redis has its turn
    assert "machines" in printed
    monkeypatch.setattr(Servers, "stores", None)  # nothing is measured again
    scale.main(arguments)
    assert capsys.readouterr().out == printed


def test_the_plan_names_what_is_full_first_and_when(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cell = {"own cpu ms": 2.0, "calls": 0.1, "postgres cpu ms": 0.5, "redis cpu ms": 0.05, "log bytes": 500.0}
    scale.show_plan(cell, 400.0)
    lines = capsys.readouterr().out.splitlines()
    assert "500 requests/s per core" in lines[1]
    assert lines[5].split() == ["100", "100000", "2500%", "50.0", "500%", "4320"]
    assert lines[6:] == [
        "the ledger (one call at a time) is full at 4.0 machines, 4,000 requests/s",
        "Redis (one core) is full at 20.0 machines, 20,000 requests/s",
    ]
