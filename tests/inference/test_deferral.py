import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.common.fork import notice
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.serving.deferral import Deferral, Outcome
from inference.serving.paid import Question
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply
from tests.forks import FORKS, holds_in_child, needs_fork
from tests.logged import wait_until

TAXONOMY = Taxonomy.of(("payments", "account"))
SOON_S = 30


@contextlib.contextmanager
def deferring(function: Callable[[str], Any], usd: float = 0.0, **parts: Any) -> Iterator[Deferral]:
    teacher = FunctionTeacher(function, TAXONOMY, usd=usd)
    settings = {"ledger": None, "log": None, "call_limit_s": 10.0, "concurrency": 4, **parts}
    deferral = Deferral([teacher], **{"on_answer": lambda text, outcome: None, **settings})
    try:
        yield deferral
    finally:
        deferral.close(5)


def ask(deferral: Deferral, text: str = "what now") -> Outcome:
    return deferral.ask(Question("an id", text, False), None).result(SOON_S)


def test_a_question_gets_its_answer(tmp_path: Path) -> None:
    with deferring(lambda text: "payments") as deferral:
        assert ask(deferral) == Outcome("payments", deferral.teachers[0].name, 0)


class Rude(BaseException):
    """Nobody expects it."""


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), Rude(), GeneratorExit()])
@pytest.mark.parametrize("is_async", [False, True])
def test_whatever_a_function_raises_is_a_reason_and_the_next_question_is_asked(
    error: BaseException, is_async: bool
) -> None:
    def answer(text: str) -> str:
        if text == "trouble":
            raise error
        return "payments"

    async def answer_async(text: str) -> str:
        return answer(text)

    if is_async and isinstance(error, GeneratorExit):
        pytest.skip("a coroutine that ends so ends in peace")
    with deferring(answer_async if is_async else answer) as deferral:
        assert ask(deferral, "trouble").intent is None
        assert ask(deferral).intent == "payments"


def test_an_exit_on_the_loop_itself_ends_no_call_and_not_the_loop() -> None:
    async def answer(text: str) -> str:
        asyncio.get_running_loop().call_soon(sys.exit)
        await asyncio.sleep(0.1)
        return "payments"

    with deferring(answer) as deferral:
        assert [ask(deferral, str(number)).intent for number in range(3)] == ["payments"] * 3
        assert deferral.worker.state()["failures"] == 3


def test_a_loop_that_was_stopped_or_closed_by_others_is_replaced() -> None:
    async def answer(text: str) -> str:
        asyncio.get_running_loop().stop()
        return "payments"

    with deferring(answer) as deferral:
        assert ask(deferral).intent == "payments"
        deferral.close(5)
        assert ask(deferral).intent == "payments"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_calls_under_way_as_the_thread_dies_end_once_another_is_asked() -> None:
    class Unspeakable(SystemExit):
        def __str__(self) -> str:
            raise MemoryError

    def die() -> None:
        raise Unspeakable

    async def answer(text: str) -> str:
        if text == "dies":
            asyncio.get_running_loop().call_soon(die)
            await asyncio.sleep(0.1)
        return "payments"

    with deferring(answer) as deferral:
        first = deferral.ask(Question("an id", "dies", False), None)
        wait_until(lambda: not deferral.worker.running)
        assert ask(deferral).intent == "payments"
        assert first.result(SOON_S).intent == "payments"
        assert deferral.worker.state()["restarts"] == 1


def test_questions_that_the_loop_had_no_time_for_are_asked_before_it_ends() -> None:
    held, busy = threading.Event(), threading.Event()

    async def answer(text: str) -> str:
        if text == "holds up the loop":
            held.set()
            busy.wait(SOON_S)
            return "payments"
        await asyncio.sleep(0.2)
        return "payments"

    with deferring(answer) as deferral:
        asked = [deferral.ask(Question("an id", "holds up the loop", False), None)]
        assert held.wait(SOON_S)
        asked += [deferral.ask(Question("an id", str(number), False), None) for number in range(20)]
        release = threading.Timer(0.1, busy.set)
        release.start()
        deferral.close(SOON_S)
        release.join()
        assert [future.result(0).intent for future in asked] == ["payments"] * 21


def test_functions_that_hang_hold_up_neither_each_other_nor_closing() -> None:
    hangs = threading.Event()

    def answer(text: str) -> str:
        if text.startswith("hangs"):
            hangs.wait()
        return "payments"

    with deferring(answer, call_limit_s=0.5, concurrency=30) as deferral:
        hung = [deferral.ask(Question("an id", f"hangs {number}", False), None) for number in range(20)]
        assert ask(deferral).intent == "payments"
        assert {future.result(SOON_S).intent for future in hung} == {None}
        hangs.set()


def test_no_more_functions_are_at_work_than_calls_may_be_made_at_once() -> None:
    hangs = threading.Event()

    def answer(text: str) -> str:
        if text.startswith("hangs"):
            hangs.wait()
        return "payments"

    with deferring(answer, call_limit_s=0.2, concurrency=2) as deferral:
        assert [ask(deferral, f"hangs {number}").intent for number in range(2)] == [None, None]
        assert "2 calls have not returned yet" in str(ask(deferral).reason)
        hangs.set()
        wait_until(lambda: ask(deferral).intent == "payments")


def test_a_reply_is_there_before_it_is_in_the_books(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.db", spill=tmp_path / "spill")
    with deferring(lambda text: "payments", log=log, call_limit_s=20.0) as deferral:
        with log._writing:
            assert ask(deferral).intent == "payments"
            assert deferral._booking
        wait_until(lambda: not deferral._booking)
    log.close()
    assert len(list(log.read_answers())) == 1


class Careless(FunctionTeacher):
    """A teacher of which only its own idea of a reply is known."""

    def __init__(self, reply: Any) -> None:
        super().__init__(str, TAXONOMY)
        self.reply = reply

    async def ask(self, text: str, timeout_s: float) -> Any:
        return self.reply


@pytest.mark.parametrize("reply", ["payments", None, Reply("root"), Reply("payments", nano=-1), Reply(3)])
def test_no_reply_but_an_intent_of_the_taxonomy_is_an_answer(reply: Any) -> None:
    parts = {"ledger": None, "log": None, "on_answer": lambda text, outcome: None}
    deferral = Deferral([Careless(reply)], **parts, call_limit_s=5.0, concurrency=1, labels=TAXONOMY.names)
    outcome = ask(deferral)
    deferral.close(5)
    assert outcome.intent is None
    assert outcome.reason


def test_without_threads_the_ledger_is_kept_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(text: str) -> str:
        return "payments"

    ledger = Ledger(tmp_path / "spend.db", cap_usd=1.0)
    with deferring(answer, usd=0.25, ledger=ledger) as deferral:
        assert ask(deferral).nano == 250_000_000
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            assert ask(deferral).nano == 250_000_000
    assert ledger.spent().measured == 500_000_000


def no_thread(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_for_the_loop_asking_raises_and_works_later(monkeypatch: pytest.MonkeyPatch) -> None:
    with deferring(lambda text: "payments") as deferral:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                deferral.ask(Question("an id", "what now", False), None)
            deferral.close(5)
        assert ask(deferral).intent == "payments"


def test_a_log_that_never_says_whether_it_kept_an_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.db", spill=tmp_path / "spill")
    answers: list[str] = []
    parts = {"log": log, "call_limit_s": 0.5, "concurrency": 1, "on_answer": lambda text, outcome: answers.append(text)}
    with deferring(lambda text: "payments", **parts) as deferral, log._writing:
        for text in ("first", "second"):
            ask(deferral, text)
            wait_until(lambda: text in answers)  # noqa: B023
    log.close()
    assert {row.text for row in log.read_answers()} == {"first", "second"}


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("fork", FORKS)
def test_a_child_asks_for_itself_and_leaves_its_parents_calls_alone(fork: Callable[[], int], tmp_path: Path) -> None:
    goes_on, asked = threading.Event(), []

    def answer(text: str) -> str:
        asked.append(text)
        if text == "the parent's":
            goes_on.wait()
        return "payments"

    ledger = Ledger(tmp_path / "spend.db")
    with deferring(answer, usd=0.001, ledger=ledger) as deferral:
        parents = deferral.ask(Question("an id", "the parent's", False), None)
        wait_until(lambda: asked)

        def check() -> bool:
            notice()
            child = ask(deferral, "the child's").intent == "payments"
            deferral.close(5)
            return child and asked == ["the parent's", "the child's"]

        assert holds_in_child(fork, check)
        spent = ledger.spent()
        assert (spent.measured, spent.unsure, spent.reserved) == (1_000_000, 0, 1_000_000)
        goes_on.set()
        assert parents.result(SOON_S).intent == "payments"
    assert ledger.spent().measured == 2_000_000
