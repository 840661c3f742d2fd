"""Whole files through the command, as people have them, and through kills."""

import contextlib
import csv
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.batch import processes
from inference.batch.parts import Run
from inference.batch.records import sources
from inference.bulk import main
from inference.bundle.manifest import BundleError
from inference.classifier import Classifier
from inference.common.locks import take_lock

WORDS = ("refund", "the", "invoice", "reset", "my", "password", "please", "ticket", "ünï", "zebra", "now")


def rows_of(count: int) -> list[dict[str, str]]:
    rng = random.Random(0)
    return [{"id": f"{i:04}", "text": " ".join(rng.choices(WORDS, k=rng.randrange(1, 9)))} for i in range(count)]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def start(home: Path, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "inference.bulk", "--bundle", str(home), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def ended(running: subprocess.Popen[bytes]) -> tuple[int, str]:
    error = running.communicate(timeout=60)[1].decode()
    return running.returncode, error


def wanted(home: Path, rows: list[dict[str, str]]) -> list[tuple[str, str, bool]]:
    classifier = Classifier.load(home)
    found = classifier.predict_many(row["text"] for row in rows)
    return [(row["id"], one.intent, one.accepted) for row, one in zip(rows, found, strict=True)]


def write_any(path: Path, rows: list[dict[str, str]]) -> Path:
    plain = path.with_name(path.name.removesuffix(".gz"))
    if plain.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif plain.suffix == ".jsonl":
        write_lines(plain, rows)
    else:
        with plain.open("w", newline="", encoding="utf-8-sig") as file:
            table = csv.DictWriter(file, ["id", "text"], delimiter="\t" if plain.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(rows)
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv.gz", "tsv", "parquet"])
def test_every_format_comes_in_and_goes_out_with_the_answers_of_predict(
    ending: str, tiny_home: Path, tmp_path: Path
) -> None:
    rows = rows_of(25)
    given, out = write_any(tmp_path / f"in.{ending}", rows), tmp_path / f"out.{ending}"
    assert main(["--bundle", str(tiny_home), str(given), "--out", str(out), "--workers", "1"]) == 0
    if ending == "parquet":
        found = pq.read_table(out).to_pylist()
    elif ending == "jsonl":
        found = read_lines(out)
    else:
        content = gzip.decompress(out.read_bytes()) if ending.endswith("gz") else out.read_bytes()
        lines = content.decode().splitlines(keepends=True)
        found = list(csv.DictReader(lines, delimiter="\t" if ending == "tsv" else ","))
    told = [(row["id"], row["intent"], row["accepted"] in (True, "true")) for row in found]
    assert told == wanted(tiny_home, rows)
    left = read_lines(tmp_path / "out.deferred.jsonl")
    assert left == [row for row, (_, _, accepted) in zip(rows, told, strict=True) if not accepted]


def test_folders_and_urls_are_read_in_the_order_of_their_names(tiny_home: Path, tmp_path: Path) -> None:
    rows = rows_of(9)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_any(tmp_path / "in" / "a.csv", rows[:3])
    write_any(tmp_path / "in" / "deep" / "b.jsonl.gz", rows[3:6])
    (tmp_path / "in" / "notes.md").write_text("not data")
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/c.jsonl", write_lines(tmp_path / "c", rows[6:]).read_bytes())
    arguments = [str(tmp_path / "in"), "memory://bucket", "--workers", "1", "--work", str(tmp_path / "work")]
    places = ["--out", "memory://answers/out.jsonl", "--deferred", str(tmp_path / "left.jsonl")]
    assert main(["--bundle", str(tiny_home), *arguments, *places]) == 0
    told = [json.loads(line) for line in store.cat("/answers/out.jsonl").splitlines()]
    assert [(row["id"], row["intent"], row["accepted"]) for row in told] == wanted(tiny_home, rows)


def test_a_row_that_cannot_be_read_keeps_its_place_and_is_named(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "in.jsonl"
    deep = b"[" * 600 + b"]" * 600  # of which pickle makes no row for a worker
    given.write_bytes(
        b'{"text": "refund"}\n\xff\xfe\n{"text": 5, "id": 3}\n\nplain text\n{"text": "broken\n{"a": 1}\n{"a": %b}\n'
        % deep
    )
    out = tmp_path / "out.jsonl"
    assert main(["--bundle", str(tiny_home), str(given), "--out", str(out), "--workers", "1"]) == 1
    told = read_lines(out)
    assert [sorted({"error", "intent"} & row.keys()) for row in told] == [
        ["intent"], ["error"], ["error"], ["intent"], ["error"], ["error"], ["error"]
    ]  # fmt: skip
    assert told[1]["error"].startswith("line 2: not UTF-8")
    assert told[2]["id"] == 3
    assert told[6]["error"] == "line 8: not valid JSON: nested too deep"
    assert "5 could not be read" in capsys.readouterr().err


def test_a_date_that_python_does_not_have_spoils_its_row_alone(tiny_home: Path, tmp_path: Path) -> None:
    given, out = tmp_path / "in.parquet", tmp_path / "out.jsonl"
    sent = pa.array([0, 1_764_448_374_000_000, 1], pa.timestamp("ms"))  # the second was written as microseconds
    pq.write_table(pa.table({"text": ["refund", "now", "please"], "sent": sent}), given)
    assert run(tiny_home, given, "--out", out) == 1
    first, bad, last = read_lines(out)
    assert bad == {"error": "row 2: a date or time that cannot be read: date value out of range"}
    assert (first["sent"], last["text"]) == ("1970-01-01 00:00:00", "please")


def test_a_field_that_the_answer_needs_is_kept_apart(tiny_home: Path, tmp_path: Path) -> None:
    given = write_lines(tmp_path / "in.jsonl", [{"query": "refund", "intent": "mine"}])
    out = tmp_path / "out.jsonl"
    assert main(["--bundle", str(tiny_home), str(given), "--out", str(out), "--text", "query", "--workers", "1"]) == 0
    told = read_lines(out)[0]
    assert (told["query"], told["given"]) == ("refund", {"intent": "mine"})


def test_a_run_that_is_killed_loses_no_row_and_doubles_none(tiny_home: Path, tmp_path: Path) -> None:
    rows = rows_of(3000)
    given, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    arguments = (given, "--out", out, "--workers", "1", "--part-rows", "100")
    finished = [0]
    for _ in range(2):
        running = start(tiny_home, *arguments)
        deadline = time.monotonic() + 60
        home = Path(f"{out}.parts")
        while len(list(home.glob("[0-9]*[0-9].json"))) < finished[-1] + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        ended(running)
        finished.append(len(list(home.glob("[0-9]*[0-9].json"))))
    assert not out.exists()
    assert 0 < finished[1] < finished[2] < 30
    assert ended(start(tiny_home, *arguments))[0] == 0
    told = read_lines(out)
    assert [(row["id"], row["intent"], row["accepted"]) for row in told] == wanted(tiny_home, rows)
    assert not home.exists()


def test_a_worker_that_is_killed_is_told_and_the_run_goes_on(tiny_home: Path, tmp_path: Path) -> None:
    rows = rows_of(2000)
    given, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    running = start(tiny_home, given, "--out", out, "--workers", "1", "--part-rows", "100")
    workers: list[int] = []
    while not workers and running.poll() is None:
        workers = [child for child in children(running.pid) if "spawn_main" in program(child)]
    os.kill(workers[0], signal.SIGKILL)
    status, error = ended(running)
    assert status == 2
    assert "run the same command again" in error
    assert ended(start(tiny_home, given, "--out", out, "--workers", "1", "--part-rows", "100"))[0] == 0
    assert [row["id"] for row in read_lines(out)] == [row["id"] for row in rows]


def test_a_worker_that_cannot_open_the_bundle_says_why(tiny_home: Path, tmp_path: Path) -> None:
    given = write_lines(tmp_path / "in.jsonl", rows_of(3))
    gone = Run(tmp_path / "work", sources([str(given)], ()), "text", 2, str(tmp_path / "gone"), "id", 0.95)
    gone.home.mkdir()
    with pytest.raises(BundleError, match="gone"):
        processes.classify(gone, lambda rows: None, 1)


def children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def program(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().decode()
    return ""


@pytest.mark.parametrize("what", ["out", "deferred"])
def test_nothing_that_is_there_is_replaced(
    what: str, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_lines(tmp_path / "in.jsonl", rows_of(3))
    place = tmp_path / ("out.jsonl" if what == "out" else "out.deferred.jsonl")
    place.write_text("precious")
    assert main(["--bundle", str(tiny_home), str(given), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert f"{place} exists already" in capsys.readouterr().err
    assert place.read_text() == "precious"


def test_an_unfinished_run_is_not_mixed_with_another(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = write_lines(tmp_path / "in.jsonl", rows_of(3)), tmp_path / "out.jsonl"
    arguments = ["--bundle", str(tiny_home), str(given), "--out", str(out), "--workers", "1"]
    assert main([*arguments, "--text", "missing"]) == 1
    out.unlink()
    (tmp_path / "out.deferred.jsonl").unlink()
    home = Path(f"{out}.parts")
    home.mkdir()
    (home / "run.json").write_text('{"text": "other", "files": []}')
    assert main(arguments) == 2
    assert "unfinished run with other files and text and bundle" in capsys.readouterr().err


def run(home: Path, *arguments: object) -> int:
    return main(["--bundle", str(home), *map(str, arguments), "--workers", "1"])


def test_a_folder_with_other_files_is_not_taken_for_a_run_which_would_delete_them(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = write_lines(tmp_path / "in.jsonl", rows_of(3))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    (tmp_path / "empty").mkdir()
    assert run(tiny_home, given, "--out", tmp_path / "out.jsonl", "--work", tmp_path / "mine") == 2
    assert "holds thesis.txt, which is not of an unfinished run" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    assert run(tiny_home, given, "--out", tmp_path / "empty" / "out.jsonl", "--work", tmp_path / "empty") == 2
    assert "which is deleted in the end" in capsys.readouterr().err
    assert run(tiny_home, given, "--out", given, "--work", tmp_path / "empty") == 2
    assert "exists already" in capsys.readouterr().err
    assert read_lines(given) == rows_of(3)
    assert run(tiny_home, given, "--out", tmp_path / "new" / "out.jsonl", "--work", tmp_path / "empty") == 0
    assert len(read_lines(tmp_path / "new" / "out.jsonl")) == 3


def test_answers_and_what_is_deferred_need_two_files(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = write_lines(tmp_path / "in.jsonl", rows_of(3)), tmp_path / "out.jsonl"
    assert run(tiny_home, given, "--out", out, "--deferred", tmp_path / "." / "out.jsonl") == 2
    assert "give two names" in capsys.readouterr().err


def test_a_run_into_the_folder_that_it_reads_goes_on_after_a_stop(tiny_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_lines(folder / "a.jsonl", rows_of(3))
    (folder / "z.csv").write_text('text\n"refund\n')  # the quotation never ends
    (tmp_path / "link").symlink_to(folder)
    out = tmp_path / "link" / "out.jsonl"
    assert run(tiny_home, folder, "--out", out, "--part-rows", "1") == 2
    assert len(list(Path(f"{out}.parts").glob("*.jsonl"))) >= 2
    (folder / ".draft.out.jsonl").write_text("half")
    before = (folder / "z.csv").stat()
    (folder / "z.csv").write_text("text\nrefund1\n")
    os.utime(folder / "z.csv", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(tiny_home, folder, "--out", out, "--part-rows", "1") == 0
    assert len(read_lines(out)) == 4


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rows_with_different_fields_keep_all_of_them_in_a_table(ending: str, tiny_home: Path, tmp_path: Path) -> None:
    lines = ["{", '{"text": "refund", "a": [{"x": 1}], "n": null}', '{"text": "now", "b": {"c": "ü"}, "n": 5}']
    given, out = tmp_path / "in.jsonl", tmp_path / f"out.{ending}"
    given.write_text("\n".join(lines))
    assert run(tiny_home, given, "--out", out) == 1
    if ending == "parquet":
        bad, first, second = pq.read_table(out).to_pylist()
        assert (first["a"], second["n"]) == ([{"x": 1}], 5)
    else:
        bad, first, second = csv.DictReader(out.read_text().splitlines())
        assert (first["a"], second["n"]) == ('[{"x": 1}]', "5")
    assert bad["error"].startswith("line 1: not valid JSON")
    assert None not in (first["intent"], second["intent"])
    assert second["b"] == '{"c": "ü"}'


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_the_name_of_a_field_that_is_no_unicode_is_repaired(ending: str, tiny_home: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "refund", "a\\ud800": "x"}\n')
    out = tmp_path / f"out.{ending}"
    assert run(tiny_home, tmp_path / "in.jsonl", "--out", out) == 0
    if ending == "parquet":
        assert pq.read_table(out).to_pylist()[0]["a\ufffd"] == "x"
    else:
        assert "a\ufffd" in out.read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_no_rows_make_empty_files(ending: str, tiny_home: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n")
    out = tmp_path / f"out.{ending}"
    assert run(tiny_home, tmp_path / "in.jsonl", "--out", out) == 0
    assert pq.read_table(out).num_rows == 0 if ending == "parquet" else out.read_bytes() == b""


def test_what_no_column_can_hold_says_how_to_go_on(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    given.write_text(f'{{"text": "refund", "n": {2**70}}}\n')
    assert run(tiny_home, given, "--out", out) == 2
    assert f"--work {out}.parts so that nothing is classified again" in capsys.readouterr().err
    left = tmp_path / "out.deferred.jsonl"
    assert run(tiny_home, given, "--out", tmp_path / "out.jsonl", "--deferred", left, "--work", f"{out}.parts") == 0
    assert read_lines(tmp_path / "out.jsonl")[0]["n"] == 2**70


def test_a_run_that_goes_on_with_another_name_replaces_nothing_either(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, work = tmp_path / "in.jsonl", tmp_path / "work"
    given.write_text(f'{{"text": "refund", "n": {2**70}}}\n')
    assert run(tiny_home, given, "--out", tmp_path / "out.parquet", "--work", work) == 2
    mine = tmp_path / "mine.jsonl"
    mine.write_text("precious")
    for places in (("--out", mine), ("--out", tmp_path / "new.jsonl", "--deferred", mine)):
        assert run(tiny_home, given, *places, "--work", work) == 2
        assert f"{mine} exists already" in capsys.readouterr().err
    assert mine.read_text() == "precious"
    left = tmp_path / "out.deferred.jsonl"  # of the first try
    assert run(tiny_home, given, "--out", tmp_path / "new.jsonl", "--deferred", left, "--work", work) == 0


def test_a_kill_while_the_folder_is_removed_leaves_a_run_that_can_be_repeated(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, out = write_lines(tmp_path / "in.jsonl", rows_of(3)), tmp_path / "out.jsonl"

    def killed(folder: Path) -> None:
        assert [path.name for path in folder.iterdir()] == ["run.json"]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert run(tiny_home, given, "--out", out) == 130
    assert run(tiny_home, given, "--out", out) == 0
    assert len(read_lines(out)) == 3
    assert not Path(f"{out}.parts").exists()


def test_a_folder_for_a_run_may_be_a_link_and_is_locked_by_its_one_name(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, work, link = write_lines(tmp_path / "in.jsonl", rows_of(3)), tmp_path / "work", tmp_path / "link"
    work.mkdir()
    link.symlink_to(work)
    with take_lock(tmp_path / ".work.lock", "test"):
        assert run(tiny_home, given, "--out", tmp_path / "out.jsonl", "--work", link) == 4
    for out in (tmp_path / "out.jsonl", tmp_path / "again.jsonl"):
        assert run(tiny_home, given, "--out", out, "--work", link) == 0
        assert len(read_lines(out)) == 3


def test_files_with_odd_names_are_read(tiny_home: Path, tmp_path: Path) -> None:
    names = ["a@b.jsonl", "50%.jsonl", "what?.jsonl", "ü\n.jsonl", os.fsdecode(b"\xff.jsonl"), "#1.jsonl"]
    (tmp_path / "in").mkdir()
    for name in names:
        write_lines(tmp_path / "in" / name, rows_of(1))
    out = tmp_path / "out@home?.jsonl"
    assert run(tiny_home, tmp_path / "in", "--out", out) == 0
    assert len(read_lines(out)) == len(names)


def test_secrets_of_urls_are_not_repeated(tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec.filesystem("memory").pipe("/secrets/a.md", b"x")
    out, work = tmp_path / "out.jsonl", tmp_path / "work"
    for url in ("memory://key:SECRET@secrets/a.md", "memory://secrets/a.md?sig=SECRET", "nowhere://k:SECRET@b/c.jsonl"):
        assert run(tiny_home, url, "--out", out) == 2
        assert run(tiny_home, __file__, "--out", url, "--work", work) == 2
        assert run(tiny_home, tmp_path, "--out", out, "--deferred", url) == 2
        assert "SECRET" not in capsys.readouterr().err


def test_a_storage_is_given_whole_files_and_none_of_it_is_replaced(
    tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, store = write_lines(tmp_path / "in.jsonl", rows_of(3)), fsspec.filesystem("memory")
    places = ("--work", tmp_path / "work", "--deferred", tmp_path / "left.jsonl")
    store.pipe("/whole/there.jsonl", b"precious")
    assert run(tiny_home, given, "--out", "memory://whole/there.jsonl", *places) == 2
    assert "exists already" in capsys.readouterr().err
    assert store.cat("/whole/there.jsonl") == b"precious"
    assert run(tiny_home, given, "--out", "memory://whole/new.csv.gz", *places) == 0
    assert len(gzip.decompress(store.cat("/whole/new.csv.gz")).splitlines()) == 4
    assert store.ls("/whole", detail=False) == ["/whole/new.csv.gz", "/whole/there.jsonl"]


def test_two_runs_at_once_do_not_meet(tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, out = write_lines(tmp_path / "in.jsonl", rows_of(3)), tmp_path / "out.jsonl"
    with take_lock(tmp_path / ".out.jsonl.parts.lock", "test"):
        assert main(["--bundle", str(tiny_home), str(given), "--out", str(out)]) == 4
    assert "another run is writing" in capsys.readouterr().err
    with take_lock(tmp_path / ".out.jsonl.parts.lock", "test"):  # whatever folders they have
        assert run(tiny_home, given, "--out", out, "--work", tmp_path / "work") == 4
    assert not out.exists()
    assert run(tiny_home, given, "--out", out, "--work", tmp_path / "work") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "--out", "out.jsonl"], "nowhere.jsonl does not exist"),
        ([".", "--out", "out.jsonl"], "holds no file that ends with"),
        (["broken.parquet", "--out", "out.jsonl", "--workers", "1"], "cannot be read as .parquet"),
        (["broken.csv", "--out", "out.jsonl", "--workers", "1"], "broken.csv cannot be read as .csv"),
        (["twice.csv", "--out", "out.jsonl", "--workers", "1"], "the header names text twice"),
        (["twice.parquet", "--out", "out.jsonl", "--workers", "1"], "it has a as the name of two columns"),
        (["broken.jsonl.gz", "--out", "out.jsonl", "--workers", "1"], "broken.jsonl.gz cannot be read as .jsonl"),
        (["nowhere://a/b.jsonl", "--out", "out.jsonl"], "nowhere://a/b.jsonl cannot be opened"),
        (["queries.csv", "--out", "answers"], "expected a file that ends with .jsonl"),
        (["queries.csv", "--out", "out.jsonl", "--deferred", "left.csv.gz"], "as lines of JSON, not as .csv"),
        (["queries.csv", "--out", "memory://a/b.jsonl"], "give --work"),
        (["queries.csv", "--out", "out.jsonl", "--target", "0.123"], "no certificate for target 0.123"),
    ],
)
def test_what_is_invalid_is_named(
    arguments: list[str],
    message: str,
    tiny_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if not arguments[0].startswith("."):
        (tmp_path / "broken.parquet").write_bytes(b"nothing of the kind")
        (tmp_path / "broken.csv").write_bytes(b"text\n\xff\xfe\n")
        (tmp_path / "twice.csv").write_text("text,text\nrefund,now\n")
        columns = [pa.array(["refund"])] * 3
        pq.write_table(pa.Table.from_arrays(columns, names=["text", "a", "a"]), tmp_path / "twice.parquet")
        packed = bytearray(gzip.compress(json.dumps(rows_of(50)).encode()))
        packed[40:60] = bytes(20)
        (tmp_path / "broken.jsonl.gz").write_bytes(packed)
        (tmp_path / "queries.csv").write_text("text\nrefund\n")
    assert main(["--bundle", str(tiny_home), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()
