import collections
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.test_duplicates import naive_pairs
from training.data.duplicates import near_groups
from training.data.linking import GROUPS_FILE, groups_of, link
from training.data.splits import SPLITS, Linked, divide

SHARES = (0.55, 0.10, 0.25, 0.10)
TEXTS = ["where is my refund", "where is my refund now", "close my account", "where is my refund now pls", "hello"]
KEYS = [f"k{i}" for i in range(len(TEXTS))]
GROUPS = [0, 0, 2, 0, 4]


@given(st.data())
def test_units_are_split_as_their_queries_would_be_one_by_one(data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(["refund", "late", "order", "where", "is", "my"]), min_size=1, max_size=7)
    texts = data.draw(st.lists(words.map(" ".join), min_size=1, max_size=14, unique=True))
    keys = [f"k{i:02}" for i in range(len(texts))]
    given_ = [data.draw(st.sampled_from(["", "", "", "val", "train", "test"])) for _ in keys]
    known = {k: data.draw(st.sampled_from(SPLITS)) for k, split in zip(keys, given_, strict=True) if split != "test"}
    known = {key: split for key, split in known.items() if data.draw(st.booleans())}
    plan = {"": SHARES, "val": (0.0, 0.5, 0.5, 0.0)}
    tallies: list[collections.Counter[str]] = [collections.Counter(), collections.Counter()]
    alone = Linked([(key,) for key in keys], given_, naive_pairs(texts))
    linked = link(keys, given_, known, texts, near_groups(texts))
    assert divide(linked, plan, known, "salt", tallies[0]) == divide(alone, plan, known, "salt", tallies[1])
    assert tallies[0] == tallies[1]


def test_of_a_large_mixed_group_what_came_together_stays_together() -> None:
    texts = [f"please tell me about my invoice number {n:02}" for n in range(30)]
    keys = [f"k{n:02}" for n in range(30)]
    given_ = ["train"] * 10 + ["test"] * 10 + [""] * 10
    linked = link(keys, given_, {}, texts, near_groups(texts), pairs=10)
    assert linked.units == [tuple(keys[:10]), tuple(keys[10:20]), tuple(keys[20:])]
    assert linked.near == {0: [1, 2], 1: [0, 2], 2: [0, 1]}
    tally: collections.Counter[str] = collections.Counter()
    assert not set(keys[20:]) & divide(linked, {"": SHARES}, {}, "salt", tally).keys()
    assert tally["bridging"] == 10


def test_groups_are_kept_for_the_same_keys_and_for_no_others(tmp_path: Path) -> None:
    assert groups_of(KEYS, TEXTS, tmp_path, 1).tolist() == GROUPS
    unlike = ["one", "quite another", "third thing", "fourth", "and a fifth"]
    assert groups_of(KEYS, unlike, tmp_path, 1).tolist() == GROUPS  # by the keys alone: it was read
    assert groups_of([*KEYS[:4], "other"], unlike, tmp_path, 1).tolist() == [0, 1, 2, 3, 4]
    assert groups_of([*KEYS[:4], "other"], TEXTS, tmp_path, 1).tolist() == [0, 1, 2, 3, 4]


def test_nothing_is_kept_of_few_texts_or_without_a_folder(tmp_path: Path) -> None:
    assert groups_of(KEYS, TEXTS, tmp_path).tolist() == groups_of(KEYS, TEXTS, None, 1).tolist() == GROUPS
    assert not list(tmp_path.iterdir())


def test_the_file_holds_no_text_and_no_key(tmp_path: Path) -> None:
    groups_of(KEYS, TEXTS, tmp_path, 1)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 64 + 4 * len(TEXTS)
    assert not any(word.encode() in path.read_bytes() for word in ["refund", *KEYS])


@pytest.mark.parametrize("place", [0, 40, 64, 70])
def test_a_damaged_file_is_made_anew(tmp_path: Path, place: int) -> None:
    groups_of(KEYS, TEXTS, tmp_path, 1)
    path = tmp_path / GROUPS_FILE
    whole = path.read_bytes()
    for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole + b"\0"):
        path.write_bytes(damaged)
        assert groups_of(KEYS, TEXTS, tmp_path, 1).tolist() == GROUPS
        assert path.read_bytes() == whole


def test_a_folder_that_cannot_take_the_file_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / GROUPS_FILE).mkdir()
    assert groups_of(KEYS, TEXTS, tmp_path, 1).tolist() == GROUPS


def test_processes_that_write_at_once_leave_a_whole_file(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from training.data.linking import groups_of\n"
        f"print(groups_of({KEYS}, {TEXTS}, Path(sys.argv[1]), 1).tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in running] == [str(GROUPS)] * 2
    assert [path.name for path in tmp_path.iterdir()] == [GROUPS_FILE]
    assert groups_of(KEYS, ["x"] * 5, tmp_path, 1).tolist() == GROUPS


def test_a_process_that_is_killed_while_it_writes_leaves_what_counts_or_nothing(tmp_path: Path) -> None:
    program = (
        "import itertools, sys; from pathlib import Path; from training.data.linking import groups_of\n"
        "for n in itertools.count():\n"
        f" print(groups_of({KEYS[:-1]} + [str(n)], {TEXTS}, Path(sys.argv[1]), 1), flush=True)"
    )
    for lines in (1, 2, 5):
        with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
            process.kill()
        assert groups_of(KEYS, TEXTS, tmp_path, 1).tolist() == GROUPS


def test_groups_have_the_same_numbers_whatever_they_were_read_from(tmp_path: Path) -> None:
    for _ in range(2):
        found = groups_of(KEYS, TEXTS, tmp_path, 1)
        assert found.dtype == np.int64
