"""Background work that is never given up: supervised threads, and an executor whose calls hold up nobody."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from types import MethodType
from typing import Any

from inference.common.fork import ProcessLocal, register
from inference.common.reentrant import reentrant_lock

_log = logging.getLogger("monoku.workers")


class Worker(ProcessLocal):
    """A thread that repeats `step`, whatever goes wrong in it, from `start` to `stop`.

    `step` returns the seconds until the next one, cut short by `wake`, or None for an end until the next `start`.
    Whatever it raises is counted, logged where it is another error than the last one, and followed by a pause, which
    doubles from the first of `pauses_s` to the second. `finish` comes after `stop`, when the next thread may already be
    at work; `interrupt` has a step that waits for something end; the first step comes after `first_s` seconds. `spawn`
    starts a thread. Methods keep their object alive while the thread runs, and no longer.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float | None],
        *,
        finish: Callable[[], object] | None = None,
        interrupt: Callable[[], object] | None = None,
        first_s: float = 0.0,
        pauses_s: tuple[float, float] = (0.1, 30.0),
        spawn: Callable[[threading.Thread], None] = lambda thread: thread.start(),
    ) -> None:
        self.name = name
        self._step: Callable[[], float | None] = weakly(step)
        self._finish, self._interrupt = finish and weakly(finish), interrupt and weakly(interrupt)
        self._first_s, self._pauses_s, self._spawn = first_s, pauses_s, spawn
        self.after_fork()
        register(self)

    def after_fork(self) -> None:
        """A child has no thread yet."""
        self.running = False
        self._lock, self._wake, self._turn = reentrant_lock(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._lost = False
        self._failures = self._in_a_row = self._restarts = 0
        self._last_error: str | None = None

    def start(self) -> bool:
        """Have the thread running, in the place of one that died too; False where no thread can be started now."""
        if self.running:
            return True
        with self._lock:
            return self.running or self._start()

    def _start(self) -> bool:
        self._turn, self.running = threading.Event(), True
        # Of what has rows to write, nobody else may hold it any more.
        kept = [work.owner for work in (self._step, self._finish) if isinstance(work, Weakly)]
        thread = threading.Thread(target=self._run, args=(self._turn, kept), name=self.name, daemon=True)
        try:
            self._spawn(thread)
        except RuntimeError as error:  # the system's limit, or the interpreter is going down
            self.running, self._lost = False, True
            self._note(error)
            return False
        self._thread = thread
        self._restarts, self._lost = self._restarts + self._lost, False
        return True

    def wake(self) -> None:
        """Have the next step come now."""
        if not self._wake.is_set():  # a signal handler may come while its thread sets it, and would wait for that
            self._wake.set()

    def heed(self) -> None:
        """Within a step: all that the thread was woken for so far is about to be done, and needs no other step."""
        self._wake.clear()

    def stop(self, timeout_s: float) -> None:
        """End the thread, and wait for its end for at most `timeout_s` seconds."""
        self._turn.set()
        self._wake.set()
        if self._interrupt is not None:
            self._interrupt()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def state(self) -> dict[str, Any]:
        """running, failures (steps that raised, threads that could not be started), last_error, restarts (of a thread
        that died or could not be started)."""
        names = ("running", "failures", "last_error", "restarts")
        return dict(zip(names, (self.running, self._failures, self._last_error, self._restarts), strict=True))

    def _run(self, turn: threading.Event, kept: list[object]) -> None:
        died = True
        try:
            self._wake.wait(self._first_s)
            while not turn.is_set() and self._round(turn):
                pass
            died = False
        finally:
            with self._lock:
                if turn is self._turn and self.running:
                    self.running, self._lost = False, died
        if self._finish is not None and turn.is_set():
            self._guarded(self._finish)

    def _round(self, turn: threading.Event) -> bool:
        """One step and the pause after it; False if there is nothing more to do."""
        self._wake.clear()
        worked, pause_s = self._guarded(self._step)
        if not worked:
            first_s, longest_s = self._pauses_s
            turn.wait(min(first_s * 2.0 ** min(self._in_a_row - 1, 30), longest_s))
        elif pause_s is None:
            with self._lock:
                self.running = self._wake.is_set()
                return self.running
        elif not turn.is_set():
            self._wake.wait(pause_s)
        return True

    def _guarded(self, work: Callable[[], Any]) -> tuple[bool, Any]:
        """Whether `work` worked, and what it returned."""
        try:
            result = work()
        except BaseException as error:  # an exit too is for the main thread to make
            self._note(error)
            return False, None
        self._in_a_row = 0
        return True, result

    def _note(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._last_error or not self._in_a_row:
            _log.warning("%s failed, and will try again: %s", self.name, text, exc_info=error)
        self._failures, self._in_a_row, self._last_error = self._failures + 1, self._in_a_row + 1, text


class Weakly:
    """A method that does not keep its object alive, and does nothing once that is gone."""

    def __init__(self, method: MethodType) -> None:
        self._method = weakref.WeakMethod(method)

    def __call__(self, *arguments: Any) -> Any:
        found = self._method()
        return found(*arguments) if found is not None else None

    @property
    def owner(self) -> object:
        """The object, None once it is gone."""
        found = self._method()
        return found.__self__ if isinstance(found, MethodType) else None


def weakly(work: Callable[..., Any]) -> Callable[..., Any]:
    """`work` itself, or as Weakly where it is a method."""
    return Weakly(work) if isinstance(work, MethodType) else work


class DaemonThreads(ThreadPoolExecutor):
    """An executor that runs every call in a daemon thread of its own: one that hangs holds up nobody, nor the exit.

    `submit` raises RuntimeError where no thread can be started, or `most` calls have not returned yet. For an exception
    that would end a thread or a generator a RuntimeError stands in.
    """

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self._most = most
        self._calls: set[Future[Any]] = set()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See Executor."""
        if self._most is not None:
            self._calls = {call for call in self._calls if not call.done()}
            if len(self._calls) >= self._most:
                raise RuntimeError(f"{self._most} calls have not returned yet, and no more may be made at once")
        future: Future[Any] = Future()
        work = partial(function, *args, **kwargs)
        threading.Thread(target=_fulfil, args=(future, work), name="monoku-call", daemon=True).start()
        if self._most is not None:
            self._calls.add(future)
        return future


def _fulfil(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        ends = isinstance(error, StopIteration) or not isinstance(error, Exception)
        future.set_exception(RuntimeError(f"{type(error).__name__}: {error}") if ends else error)
    else:
        future.set_result(result)
