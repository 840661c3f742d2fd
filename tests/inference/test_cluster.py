"""The engine for Ray without Ray: what its task reads and its actors make, and how it fails. `tests/soak` runs Ray."""

import dataclasses
import pickle
import socket
import sys
from pathlib import Path

import pytest

from inference.batch import cluster, parts
from inference.batch.records import sources
from inference.bulk import main
from inference.classifier import Classifier
from inference.common.errors import MonokuError


def run_of(home: Path, folder: Path, lines: str) -> parts.Run:
    (folder / "in.jsonl").write_text(lines)
    bundle = Classifier.load(home).bundle
    found = sources([str(folder / "in.jsonl")])
    return parts.Run(folder, found, "text", 2, str(home), bundle.manifest.bundle_id, bundle.manifest.target)


def test_what_the_actors_make_of_what_is_read_are_the_parts(tiny_home: Path, tmp_path: Path) -> None:
    run = run_of(tiny_home, tmp_path, 'refund\n{"text": 5}\n{"text": "zebra", "id": 3}\npassword\nnow\n')
    wanted = {number: parts.classified(Classifier.load(tiny_home), rows) for number, rows in run.parts()}
    worker = cluster._Worker(run.bundle, run.bundle_id, run.target)
    found = [worker(table).to_pylist() for table in cluster._read(None, run, {2})]
    assert {row["number"]: pickle.loads(row["made"]) for (row,) in found} == {n: wanted[n] for n in (1, 3)}
    parts.keep(tmp_path, 3, wanted[3])
    assert parts.made(tmp_path) == {3: 1}


@pytest.mark.parametrize(
    ("bundle", "expected", "message"),
    [("nowhere", None, "cannot use the bundle nowhere: "), (None, "other", ", expected other; give a path that is")],
)
def test_a_worker_without_the_bundle_says_where_it_is(
    bundle: str | None, expected: str | None, message: str, tiny_home: Path, tmp_path: Path
) -> None:
    run = run_of(tiny_home, tmp_path, "refund\n")
    (table,) = cluster._read(None, run, set())
    worker = cluster._Worker(bundle or run.bundle, expected or run.bundle_id, run.target)
    found = pickle.loads(worker(table).to_pylist()[0]["made"])
    assert isinstance(found, MonokuError)
    assert str(found).startswith(f"a worker on {socket.gethostname()} cannot use the bundle ")
    assert message in str(found)


def test_a_file_that_cannot_be_read_is_told_after_the_parts_before_it(tiny_home: Path, tmp_path: Path) -> None:
    run = run_of(tiny_home, tmp_path, "refund\nzebra\nnow\n")
    (tmp_path / "bad.csv").write_text('text\n"refund\n')
    run = dataclasses.replace(run, sources=[*run.sources, *sources([str(tmp_path / "bad.csv")])])
    worker = cluster._Worker(run.bundle, run.bundle_id, run.target)
    found = [worker(table).to_pylist()[0] for table in cluster._read(None, run, set())]
    made = [pickle.loads(row["made"]) for row in found]
    assert [(row["number"], type(one)) for row, one in zip(found, made, strict=True)] == [
        (1, parts.Part),
        (2, ValueError),
    ]
    assert "bad.csv cannot be read as .csv" in str(made[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "ray"], 'pip install "monoku[ray]"'),
        (["--address", "auto"], "--address is of a Ray cluster: give --engine ray too"),
        (["--engine", "spark"], "invalid choice: 'spark'"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_told(
    arguments: list[str], message: str, tiny_home: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "in.txt").write_text("refund\n")
    places = [str(tmp_path / "in.txt"), "--out", str(tmp_path / "out.jsonl")]
    try:
        status: object = main(["--bundle", str(tiny_home), *places, *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("address", ["10.0.0.1", "ray://head:10001", "head:", ":6379"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT or auto"):
        cluster._reach(address)


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        with pytest.raises(ConnectionRefusedError):
            cluster._reach(f"127.0.0.1:{taken.getsockname()[1]}")
