"""A signal handler may call the cascade that its thread is in the middle of."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import inference
from inference.cascade import Cascade
from tests.inference.test_reentrant import holding

OURS = str(Path(inference.__file__).parent)


def interrupted(work: Callable[[], object], handler: Callable[[], object], every: int) -> int:
    """Run `work` in a thread and call `handler` in it after every so many lines of ours, as signals would."""
    lines = calls = 0
    inside = False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines, calls, inside
        if inside or not frame.f_code.co_filename.startswith(OURS):
            return None
        lines += event == "line"
        if event == "line" and lines % every == 0:
            calls, inside = calls + 1, True
            handler()
            inside = False
        return trace

    failed: list[BaseException] = []

    def run() -> None:
        sys.settrace(trace)
        try:
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            sys.settrace(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "it waits for itself"
    assert not failed, failed
    return calls


@pytest.mark.parametrize(("handler", "every"), [("stats", 1), ("feedback", 1), ("classify", 37), ("ask", 3)])
def test_a_handler_may_call_the_cascade_between_any_two_lines(
    tiny_home: Path, tmp_path: Path, handler: str, every: int
) -> None:
    # Small, so that what one call has just looked up another throws out.
    settings: dict[str, Any] = {"log": str(tmp_path / "log.db"), "ledger": str(tmp_path / "spend.db"), "cache_size": 2}
    # A handler that waited for what its own thread holds would wait for longer than `interrupted` does.
    with Cascade.load(tiny_home, lambda text: "account", sample_rate=0.5, deadline_s=120.0, **settings) as cascade:
        texts = [f"undo the {thing}" for thing in ("refund", "zebra", "invoice", "login")]
        for text in texts:
            assert cascade.classify(text, id="known").intent is not None
        calls = {
            "stats": cascade.stats,
            "classify": lambda: cascade.classify(texts[os.urandom(1)[0] % 4]),
            "feedback": lambda: cascade.feedback("known", "account"),
            "ask": lambda: cascade.classify(f"undo the {os.urandom(4).hex()}"),  # never seen: a teacher is asked
        }

        def work() -> None:
            for text in texts:
                assert cascade.classify(text).intent is not None
                assert cascade.feedback("known", "account") is None

        assert interrupted(work, calls[handler], every) > 20
        assert cascade.stats()["log"]["healthy"]


def test_a_handler_in_the_middle_of_a_call_is_not_made_to_wait_and_any_other_is(
    tiny_home: Path, tmp_path: Path
) -> None:
    texts = [f"undo the {thing}" for thing in ("zebra", "walrus", "lynx", "badger")]
    stores: dict[str, Any] = {"log": str(tmp_path / "log.db"), "ledger": str(tmp_path / "spend.db")}
    with Cascade.load(tiny_home, lambda text: "account", deadline_s=120.0, **stores) as cascade:
        answers = holding(lambda: [*cascade.classify_many(texts[:2]), *map(cascade.classify, texts[2:])])
        deferred = [answer for answer in answers if answer.deferred]
        assert {answer.reason for answer in deferred} == {"a teacher is asked in the background"}
        later = [cascade.classify(f"{text}, please") for text in texts]
        assert {answer.source for answer in later if answer.deferred} == {"teacher"}


def test_every_lock_that_a_public_method_takes_is_known() -> None:
    own = {"common/reentrant.py", "common/fork.py", "service/crew.py", "service/page/routes.py"}
    made = {
        str(path.relative_to(OURS)) for path in Path(OURS).rglob("*.py") if "threading.Lock()" in path.read_text()
        or "RLock()" in path.read_text()
    }  # fmt: skip
    assert made <= own
