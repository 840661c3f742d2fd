import json
import shutil
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Intent, Taxonomy
from tests.tiny import THINGS
from training import change
from training.data import dataset
from training.data.splits import SPLITS
from training.lifecycle.taxonomy_change import Change

OLD = Taxonomy.of(["payments", "account", "unknown"])


def by_word(text: str) -> str:
    return (
        "invoices"
        if "invoice" in text
        else next((name for name, things in THINGS.items() if any(thing in text for thing in things)), "unknown")
    )


def taxonomy_file(folder: Path, *names: str) -> Path:
    path = folder / "new.toml"
    path.write_text(Taxonomy(tuple(Intent(name) for name in names)).to_toml())
    return path


def run(data: Path, taxonomy: Path, out: Path, *more: str) -> int:
    given = ["--data", str(data), "--taxonomy", str(taxonomy), "--out", str(out)]
    return change.main([*given, "--teacher", "python:tests.training.test_change:by_word", "--yes", *more])


def test_a_new_intent_takes_its_rows_and_every_other_row_keeps_label_and_split(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {row.key: row for row in dataset.load(str(tiny_data)).rows}
    new = taxonomy_file(tmp_path, "payments", "account", "unknown", "invoices")
    assert run(tiny_data, new, tmp_path / "out") == 0
    after = {row.key: row for row in dataset.load(str(tmp_path / "out")).rows}
    assert after.keys() == before.keys()
    for key, row in after.items():
        assert row.split == before[key].split
        assert row.label == ("invoices" if "invoice" in row.text else before[key].label)
        if row.label == "invoices":
            assert row.extra["monoku_was"] == before[key].label
    note = json.loads((tmp_path / "out" / "changes.jsonl").read_text())
    assert note["added"] == ["invoices"]
    assert note["moved"] == sum(row.label == "invoices" for row in after.values())
    assert "payments -> invoices" in capsys.readouterr().out


def test_only_the_intents_that_a_new_one_can_come_from_are_asked_about(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = taxonomy_file(tmp_path, "payments", "account", "unknown", "invoices")
    assert run(tiny_data, new, tmp_path / "out", "--among", "account") == 0
    note = json.loads((tmp_path / "out" / "changes.jsonl").read_text())
    data = dataset.load(str(tiny_data))
    assert (note["asked"], note["moved"]) == (sum(row.label == "account" for row in data.rows), 0)
    assert f"{note['asked']} of {len(data.rows)} rows" in capsys.readouterr().out
    assert run(tiny_data, new, tmp_path / "out", "--among", "accounts") == 2
    assert "--among accounts: expected an old intent (" in capsys.readouterr().err


def test_a_renamed_intent_asks_nobody(tiny_data: Path, tmp_path: Path) -> None:
    new = taxonomy_file(tmp_path, "money", "account", "unknown")
    given = ["--map", "payments=money", "--teacher", "python:json:nothing"]
    assert run(tiny_data, new, tmp_path / "out", *given) == 0
    assert {row.label for row in dataset.load(str(tmp_path / "out")).rows} == {"money", "account", "unknown"}


def test_labels_are_never_lost_silently(tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = taxonomy_file(tmp_path, "account", "unknown")
    assert run(tiny_data, new, tmp_path / "out") == 2
    assert "payments would lose its labels" in capsys.readouterr().err
    for wrong in ("payments", "nobody=account", "payments=nobody"):
        assert run(tiny_data, new, tmp_path / "out", "--map", wrong) == 2


def test_intents_may_be_joined() -> None:
    joined = Change.between(OLD, Taxonomy.of(["desk", "unknown"]), {"payments": "desk", "account": "desk"})
    assert (joined.mapping["account"], joined.added) == ("desk", ())


def test_splits_that_files_gave_are_kept(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words = {"payments": "invoice", "account": "password", "unknown": "zebra"}
    for split in SPLITS:
        rows = [{"text": f"{split} {word} {i}", "label": name} for name, word in words.items() for i in range(9)]
        (tmp_path / "data" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    new = taxonomy_file(tmp_path, "money", "account", "unknown")
    assert run(tmp_path / "data", new, tmp_path / "out", "--map", "payments=money") == 0
    assert all(row.split == row.text.split()[0] for row in dataset.load(str(tmp_path / "out")).rows)


def test_the_data_is_never_overwritten_nor_mixed_with_another(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_data, tmp_path / "data")
    new = taxonomy_file(tmp_path, "money", "account", "unknown")
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.name != "splits.json"}
    for given in (data, data / "queries.jsonl"):
        assert run(given, new, tmp_path / "data" / ".." / "data", "--map", "payments=money") == 2
        assert "is the folder of the data itself" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train.csv").write_text("text,label\nhello,account\n")
    assert run(data, new, tmp_path / "out", "--map", "payments=money") == 2
    assert "has files of something else (train.csv)" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.name != "splits.json"} == before


def test_the_same_change_again_writes_the_same(tiny_data: Path, tmp_path: Path) -> None:
    new = taxonomy_file(tmp_path, "money", "account", "unknown")
    for _ in range(2):
        assert run(tiny_data, new, tmp_path / "out", "--map", "payments=money") == 0
    assert len((tmp_path / "out" / "changes.jsonl").read_text().splitlines()) == 1
