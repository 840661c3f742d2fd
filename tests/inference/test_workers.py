import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference.common.workers import DaemonThreads, Worker
from tests.forks import FORKS, holds_in_child, needs_fork
from tests.logged import wait_until

QUICK = (0.001, 0.01)


@contextlib.contextmanager
def working(step: Callable[[], float | None], **settings: Any) -> Iterator[Worker]:
    worker = Worker("test", step, **{"pauses_s": QUICK, **settings})
    try:
        yield worker
    finally:
        worker.stop(10)


class Steps:
    """A step that does what it is told to, one after the other, and then rests."""

    def __init__(self, *doings: BaseException | float | None) -> None:
        self.left = list(doings)
        self.taken = 0

    def __call__(self) -> float | None:
        self.taken += 1
        doing = self.left.pop(0) if self.left else 60.0
        if isinstance(doing, BaseException):
            raise doing
        return doing


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), SystemExit(3), KeyboardInterrupt(), StopIteration()])
def test_whatever_a_step_raises_it_is_tried_again_and_told_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    steps = Steps(error, error, error, 60.0)
    with caplog.at_level(logging.WARNING, "monoku.workers"), working(steps) as worker:
        assert worker.start()
        wait_until(lambda: steps.taken == 4)
        assert worker.state() == {
            "running": True, "failures": 3, "last_error": f"{type(error).__name__}: {error}", "restarts": 0
        }  # fmt: skip
    assert len(caplog.records) == 1


def test_another_error_and_one_after_a_good_step_are_told_too(caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(ValueError("a"), ValueError("b"), ValueError("b"), 0.0, ValueError("b"))
    with caplog.at_level(logging.WARNING, "monoku.workers"), working(steps) as worker:
        worker.start()
        wait_until(lambda: steps.taken == 6)
    assert len(caplog.records) == 3


def test_eight_first_calls_at_once_start_one_thread() -> None:
    spawned: list[threading.Thread] = []

    def spawn(thread: threading.Thread) -> None:
        spawned.append(thread)
        thread.start()

    with working(Steps(), spawn=spawn) as worker:
        callers = [threading.Thread(target=worker.start) for _ in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert len(spawned) == 1


def test_a_thread_that_cannot_be_started_is_started_by_a_later_use() -> None:
    refusals = [RuntimeError("can't start new thread")] * 2

    def spawn(thread: threading.Thread) -> None:
        if refusals:
            raise refusals.pop()
        thread.start()

    steps = Steps()
    with working(steps, spawn=spawn) as worker:
        assert not worker.start()
        assert worker.state()["last_error"] == "RuntimeError: can't start new thread"
        assert not worker.running
        worker.stop(1)
        assert not worker.start()
        assert worker.start()
        wait_until(lambda: steps.taken)
        assert (worker.state()["restarts"], worker.state()["failures"]) == (1, 2)


class Unspeakable(Exception):
    """Cannot even be logged."""

    def __str__(self) -> str:
        raise MemoryError


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_noticed_and_started_again() -> None:
    spawned: list[threading.Thread] = []

    def spawn(thread: threading.Thread) -> None:
        spawned.append(thread)
        thread.start()

    steps = Steps(Unspeakable())
    with working(steps, spawn=spawn) as worker:
        worker.start()
        spawned[0].join()  # to its very end: what it could not say is told by then, and not within the next test
        assert not worker.running
        assert worker.start()
        wait_until(lambda: steps.taken == 2)
        assert worker.state()["restarts"] == 1


def test_a_thread_with_nothing_to_do_ends_and_no_request_is_lost_meanwhile() -> None:
    served = threading.Event()

    def step() -> None:
        served.set()

    with working(step) as worker:
        for _ in range(500):
            served.clear()
            worker.wake()
            assert worker.start()
            assert served.wait(10)
        wait_until(lambda: not worker.running)
        assert worker.state()["restarts"] == 0


@pytest.mark.parametrize("doing", [60.0, ValueError("a long pause follows")])
def test_stopping_cuts_a_pause_short_and_finishes_once(doing: Any) -> None:
    finished: list[str] = []
    steps = Steps(doing)
    worker = Worker("test", steps, finish=lambda: finished.append(threading.current_thread().name), pauses_s=(60, 60))
    worker.start()
    wait_until(lambda: steps.taken)
    worker.stop(10)
    assert finished == ["test"]
    assert not worker.running
    worker.stop(10)
    assert finished == ["test"]


def test_stopping_interrupts_a_step_that_waits() -> None:
    waits = threading.Event()

    def step() -> float:
        waits.wait()
        return 0.0

    worker = Worker("test", step, interrupt=waits.set)
    worker.start()
    worker.stop(10)
    assert not worker.running


def test_a_step_may_stop_its_own_thread() -> None:
    def step() -> float:
        worker.stop(10)
        return 60.0

    worker = Worker("test", step)
    worker.start()
    wait_until(lambda: not worker.running)


def test_it_works_again_after_it_was_stopped_and_wakes_when_told() -> None:
    steps = Steps()
    with working(steps, first_s=60.0) as worker:
        for taken in (1, 2):
            worker.start()
            worker.wake()
            wait_until(lambda: steps.taken == taken)  # noqa: B023
            worker.stop(10)
        assert worker.state()["restarts"] == 0


def test_stopping_what_never_started_does_nothing() -> None:
    Worker("test", Steps()).stop(10)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_has_a_thread_of_its_own(fork: Callable[[], int]) -> None:
    from inference.common.fork import notice

    steps = Steps(ValueError("the parent's"))

    def check() -> bool:
        notice()
        fresh = not worker.running and worker.state()["failures"] == 0
        taken = steps.taken
        return fresh and worker.start() and wait_until(lambda: steps.taken > taken) is None

    with working(steps) as worker:
        worker.start()
        wait_until(lambda: steps.taken == 2)
        assert holds_in_child(fork, check)
        assert worker.running


def test_calls_that_hang_hold_up_no_other() -> None:
    hangs, calls = threading.Event(), DaemonThreads()
    try:
        hung = [calls.submit(hangs.wait) for _ in range(50)]
        assert calls.submit(abs, -1).result(10) == 1
    finally:
        hangs.set()
    assert [call.result(10) for call in hung] == [True] * 50


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), GeneratorExit()])
def test_what_would_end_a_thread_comes_back_as_an_error(error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def run() -> None:
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        await asyncio.to_thread(fail)

    with pytest.raises(RuntimeError, match=type(error).__name__):
        asyncio.run(run())


def test_a_call_that_hangs_does_not_hold_up_the_exit() -> None:
    program = (
        "import threading\n"
        "from inference.common.workers import DaemonThreads\n"
        "DaemonThreads().submit(threading.Event().wait)\n"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)


def test_a_method_keeps_its_object_while_the_thread_runs_and_no_longer() -> None:
    class Owner:
        def __init__(self) -> None:
            self.ended: list[int] = []
            self.worker = Worker("test", self.step, finish=self.finish, pauses_s=QUICK)

        def step(self) -> float:
            return 60.0

        def finish(self) -> None:
            ended.append(1)

    ended: list[int] = []
    gc.collect()
    gc.disable()
    try:
        owner = Owner()
        worker, seen = owner.worker, weakref.ref(owner)
        assert worker.start()
        del owner
        assert seen() is not None
        worker.stop(30)
        assert ended == [1]
        wait_until(lambda: seen() is None)
        assert worker.start()
        worker.stop(30)
        assert ended == [1]
    finally:
        gc.enable()
