import contextlib
import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inference.cache.memory import Entry, MemoryCache
from inference.common import fork as forks
from inference.common.fork import Hold, ProcessLocal, notice, register
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.serving.rate import Rate
from inference.serving.recorder import Recorder
from inference.teachers.breaker import Breaker
from tests.forks import FORKS, c_fork, holds_in_child, needs_fork

pytestmark = [needs_fork, pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]


class Thing(ProcessLocal):
    """Remembers which of its hooks were called, and where."""

    def __init__(self) -> None:
        self.called: list[tuple[str, int]] = []
        register(self)

    def before_fork(self) -> None:
        self.called.append(("before", os.getpid()))

    def after_fork_in_parent(self) -> None:
        self.called.append(("parent", os.getpid()))

    def after_fork(self) -> None:
        self.called.append(("child", os.getpid()))


class Broken(Thing):
    """Its hooks fail."""

    def before_fork(self) -> None:
        raise OSError("before")

    def after_fork(self) -> None:
        raise OSError("after")


@pytest.mark.parametrize("fork", FORKS)
def test_a_child_begins_anew_at_its_next_call_and_once(fork: Callable[[], int]) -> None:
    thing = Thing()

    def check() -> bool:
        notice()
        notice()
        return [call for call in thing.called if call[0] == "child"] == [("child", os.getpid())]

    assert holds_in_child(fork, check)
    assert not [call for call in thing.called if call[0] == "child"]


@pytest.mark.parametrize("fork", FORKS)
def test_a_childs_child_begins_anew_too(fork: Callable[[], int]) -> None:
    thing = Thing()

    def check() -> bool:
        notice()
        return thing.called[-1] == ("child", os.getpid())

    assert holds_in_child(fork, lambda: check() and holds_in_child(fork, check))


def test_a_fork_of_pythons_own_is_prepared_and_undone_in_the_parent() -> None:
    thing = Thing()
    assert holds_in_child(os.fork, lambda: [name for name, _ in thing.called] == ["before", "child"])
    assert [name for name, _ in thing.called] == ["before", "parent"]


def test_threads_of_a_child_wait_until_it_has_begun_anew() -> None:
    seen: list[int] = []
    begun = threading.Event()

    class Slow(Thing):
        def after_fork(self) -> None:
            begun.wait(0.2)
            super().after_fork()

    thing = Slow()

    def look() -> None:
        notice()
        seen.append(len(thing.called))

    def check() -> bool:
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return seen == [1] * 8

    assert holds_in_child(c_fork, check)


@pytest.mark.parametrize("fork", FORKS)
def test_a_hook_that_fails_keeps_no_other_from_its_work(fork: Callable[[], int]) -> None:
    things = [Broken(), Thing()]
    assert holds_in_child(fork, lambda: notice() is None and things[1].called[-1][0] == "child")
    assert holds_in_child(fork, lambda: True)


def test_what_is_gone_is_forgotten() -> None:
    before = len(forks._things)
    thing = Thing()
    assert len(forks._things) == before + 1
    del thing
    gc.collect()
    assert len(forks._things) <= before


def test_threads_that_fork_at_once_release_what_they_prepared(tmp_path: Path) -> None:
    ledgers = [Ledger(tmp_path / f"{number}.db") for number in range(3)]
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(holds_in_child(os.fork, lambda: True))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    for ledger in ledgers:
        ledger.reserve(1)


WITH_LOCKS: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "memory cache": (lambda: MemoryCache(), lambda cache: cache.put("text", Entry("a", 1.0, "teacher", None)) is None),
    "breaker": (Breaker, lambda breaker: breaker.allows()),
    "rate": (lambda: Rate(0.5), lambda rate: rate.allows()),
    "recorder": (lambda: Recorder(None, str), lambda recorder: recorder.counts() == {}),
}


@pytest.mark.parametrize("name", WITH_LOCKS)
def test_a_lock_that_is_held_at_the_fork_is_not_waited_for(name: str) -> None:
    make, use = WITH_LOCKS[name]
    thing = make()
    with thing._lock:
        assert holds_in_child(c_fork, lambda: notice() is None and use(thing), within_s=20)
    assert use(thing)


@pytest.mark.parametrize("fork", FORKS)
def test_what_is_held_is_never_destroyed_in_a_child(fork: Callable[[], int]) -> None:
    destroyed: list[int] = []

    class Owned:
        def __del__(self) -> None:
            destroyed.append(os.getpid())

    owned = [Owned()]
    hold: list[Hold] = [Hold(owned[0])]

    def check() -> bool:
        owned.clear()
        hold.clear()
        gc.collect()
        return not destroyed

    assert holds_in_child(fork, check)
    assert not check()


def test_without_pages_that_are_wiped_the_process_id_tells() -> None:
    mark = forks._mark(wipe=False)
    assert mark[0]

    def check() -> bool:
        found = mark[0]
        mark[0] = 1
        return bool(not found and mark[0])

    assert holds_in_child(c_fork, check)
    assert mark[0]


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_belongs_to_one_process_says_what_to_do_instead_of_a_copy(
    copied: Callable[[Any], Any], tmp_path: Path
) -> None:
    for thing in (MemoryCache(), Ledger(tmp_path / "spend.db"), DecisionLog(tmp_path / "log.db")):
        with pytest.raises(TypeError, match=f"a {type(thing).__name__} cannot be pickled .* load it in the worker"):
            copied(thing)


CLOSED_AT_EXIT = """
from inference.common.fork import ProcessLocal, register

class Thing(ProcessLocal):
    def __init__(self, name):
        self.name = name
        register(self)
    def at_exit(self):
        print(self.name, flush=True)
        raise OSError(self.name)

things = [Thing("used by the second"), Thing("second")]
"""


def test_at_exit_all_is_closed_the_user_before_what_it_uses() -> None:
    done = subprocess.run([sys.executable, "-c", CLOSED_AT_EXIT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["second", "used by the second", ""]


def test_nothing_registered_is_in_the_way_of_a_child_that_only_ends() -> None:
    with contextlib.closing(Ledger("unused.db")):
        assert holds_in_child(c_fork, lambda: True)
