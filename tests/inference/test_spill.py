import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.log.database import Store
from inference.log.decision_log import Count
from inference.log.rows import Row, to_values
from inference.log.spill import Sink, Spill
from tests.logged import ROWS, answer, correction, decision


def contents(rows: list[Row]) -> list[str]:
    return sorted(json.dumps([type(row).__name__, to_values(row)], sort_keys=True) for row in rows)


def read_back(spill: Spill) -> list[Row]:
    return [row for chunk in spill.chunks() for row in chunk]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS | st.just(Count(3600, "flag", "cached", 7, "w")), max_size=8))
def test_what_is_read_back_equals_what_was_spilled(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    spill = Spill(tmp_path_factory.mktemp("spill") / "deeper")
    spill.append(rows)
    assert contents(read_back(spill)) == contents(rows)
    assert not spill.unread
    assert list(spill.folder.iterdir()) == []
    assert read_back(spill) == []
    spill.close()


def test_rows_that_come_while_others_are_read_back_are_read_too(tmp_path: Path) -> None:
    spill = Spill(tmp_path, rows_at_once=2)
    spill.append([correction(str(i)) for i in range(4)])
    chunks, seen = spill.chunks(), []
    seen += next(chunks)
    seen += next(chunks)
    spill.append([correction("late")])
    for chunk in chunks:
        seen += chunk
    assert [row.request_id for row in seen] == ["0", "1", "2", "3", "late"]
    assert list(tmp_path.iterdir()) == []
    spill.append([correction("later")])
    assert len(read_back(spill)) == 1


def test_a_chunk_that_was_not_committed_comes_again(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    spill.append([answer("a")])
    chunks = spill.chunks()
    next(chunks)
    chunks.close()
    assert spill.unread
    assert len(read_back(spill)) == 1


def test_a_line_torn_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    dead = Spill(tmp_path)
    dead.append([answer("a"), decision("b")])
    dead.close()
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(b'{"row": "answer", "request_id": "c", "ti')
    spill = Spill(tmp_path)
    assert len(read_back(spill)) == 2
    assert spill.unreadable == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[1]",
        b"{}",
        b'{"row": "unheard of"}',
        b'{"row": "correction", "request_id": 3, "time": 1, "text": "t", "intent": "i"}',
        b'{"row": "correction", "request_id": "r", "time": 1, "text": "t", "intent": "i", "of_tomorrow": 1}',
        b'{"row": "correction", "request_id": "r", "time": 1' + b"0" * 400 + b', "text": "t", "intent": "i"}',
        b'{"row": "count", "hour": 1, "kind": "k", "key": "k", "n": 99999999999999999999}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_file_with_a_line_that_is_no_row_is_kept_and_the_rest_read(line: bytes, tmp_path: Path) -> None:
    dead = Spill(tmp_path)
    dead.append([answer("a")])
    dead.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(line + b"\n" + path.read_bytes())
    spill = Spill(tmp_path)
    assert len(read_back(spill)) == 1
    assert spill.unreadable == 1
    assert path.exists()
    assert read_back(spill) == []  # once in a process is enough


def test_a_folder_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill")
    spill.append([answer("lost")])
    for path in spill.folder.iterdir():
        path.unlink()
    spill.folder.rmdir()
    spill.append([answer("kept")])
    assert [row.request_id for row in read_back(spill)] == ["kept"]  # type: ignore[union-attr]


OTHER = """
import sys
from pathlib import Path
from inference.log import Correction
from inference.log.spill import Spill
spill = Spill(Path(sys.argv[1]))
spill.append([Correction("theirs", 1.0, "t", "i")])
print("spilled", flush=True)
sys.stdin.readline()
"""


def test_a_living_process_keeps_its_file_and_a_killed_one_leaves_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OTHER, str(tmp_path)]
    spill = Spill(tmp_path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "spilled\n"
        spill.append([correction("mine")])
        assert [row.request_id for row in read_back(spill)] == ["mine"]  # type: ignore[union-attr]
        assert len(list(tmp_path.iterdir())) == 1
        other.kill()
    assert [row.request_id for row in read_back(spill)] == ["theirs"]  # type: ignore[union-attr]
    assert list(tmp_path.iterdir()) == []


def test_one_process_at_a_time_reads_a_file_that_was_left(tmp_path: Path) -> None:
    dead = Spill(tmp_path)
    dead.append([answer("a")])
    dead.close()
    first, second = Spill(tmp_path).chunks(), Spill(tmp_path)
    next(first)
    assert read_back(second) == []
    first.close()
    assert len(read_back(second)) == 1


# One file may be no larger than 64 KB here, as on a disk that is full by then.
FULL = """
import resource, sys
from pathlib import Path
from inference.log import Correction
from inference.log.spill import Spill
spill = Spill(Path(sys.argv[1]))
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))
kept = 0
try:
    while True:
        spill.append([Correction(str(kept), 1.0, "t" * 8000, "i")] * 2)
        kept += 1
except OSError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
spill.append([Correction("space again", 1.0, "t", "i")])
print(kept, flush=True)
"""


def test_a_full_disk_tears_no_line(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    rows = read_back(Spill(tmp_path))
    assert int(done.stdout) == 4
    assert [row.request_id for row in rows[::2]] == ["0", "1", "2", "3", "space again"]  # type: ignore[union-attr]


def test_closing_leaves_rows_and_removes_what_is_empty(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    with contextlib.closing(spill):
        spill.append([])
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with contextlib.closing(spill):
        spill.append([answer("a")])
    assert len(list(tmp_path.iterdir())) == 1


def test_where_the_system_has_no_file_locks_the_sink_says_so_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    (tmp_path / "log.db").mkdir()  # so that the database fails
    sink = Sink(Store(tmp_path / "log.db"), tmp_path / "spill")
    assert not sink.commit([answer("a")])
    assert not sink.save([answer("a")])
    assert "POSIX file locks" in str(sink.error)
    assert list((tmp_path / "spill").iterdir()) == []
    assert sink.read_back() == 0
    sink.let_go()
