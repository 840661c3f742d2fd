import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.log.decision_log import DecisionLog

SOON_S = 30


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What goes now goes by its last reference, and not when the collector comes round."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def load(home: Path, tmp_path: Path, teacher: Any = lambda text: "account", **settings: Any) -> Cascade:
    given = {"strategy": "tiered", "sample_rate": 0.0, "log": str(tmp_path / "log.db"), **settings}
    return Cascade.load(home, teacher, ledger=str(tmp_path / "spend.db"), **given)


def session_of(cascade: Cascade) -> weakref.ref[Any]:
    tier = cascade._watch.tier
    assert tier is not None
    assert tier.classifier._engine is not None
    return weakref.ref(tier.classifier._engine)


def test_a_closed_cascade_frees_its_model_as_it_goes(tiny_home: Path, tmp_path: Path, without_collector: None) -> None:
    cascade = load(tiny_home, tmp_path)
    for text in ("one", "two"):
        assert cascade.classify(text).source == "teacher"
    session = session_of(cascade)
    cascade.close()
    assert session() is not None
    del cascade
    assert session() is None


def test_it_closes_without_holding_up_the_event_loop(tiny_home: Path, tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def teach(text: str) -> str:
        asked.set()
        go_on.wait(SOON_S)
        return "account"

    async def run() -> None:
        async with load(tiny_home, tmp_path, teach, deferral="background") as cascade:
            await cascade.aclassify("what now")
            closing = asyncio.create_task(cascade.aclose())
            await asyncio.sleep(0)
            assert await asyncio.to_thread(asked.wait, SOON_S)
            assert not closing.done()  # and yet the loop has come this far
            go_on.set()
            await closing

    asyncio.run(run())
    assert [row.label for row in DecisionLog(tmp_path / "log.db").read_answers()] == ["account"]


def test_a_cancelled_call_is_counted_and_logged_as_what_was_paid_for_it_is(tiny_home: Path, tmp_path: Path) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def teach(text: str) -> str:
        asked.set()
        go_on.wait(SOON_S)
        return "account"

    async def run(cascade: Cascade) -> None:
        task = asyncio.create_task(cascade.aclassify("what now"))
        await asyncio.to_thread(asked.wait, SOON_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with load(tiny_home, tmp_path, teach) as cascade:
        asyncio.run(run(cascade))
        assert cascade.stats()["answers"]["deferred"] == 1
        go_on.set()
    log = DecisionLog(tmp_path / "log.db")
    ((decision,), (answer,)) = list(log.read_decisions()), list(log.read_answers())
    assert (decision.id, decision.source, answer.label) == (answer.request_id, "fallback", "account")


SERVED = ("payments", "account", "unknown")


@pytest.mark.parametrize(("names", "warned"), [(SERVED, False), (("billing", "other"), True)])
def test_a_taxonomy_that_is_not_used_is_not_ignored_without_a_word(
    names: tuple[str, ...], warned: bool, tiny_home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "monoku"), load(tiny_home, tmp_path, taxonomy=Taxonomy.of(names)) as cascade:
        assert set(cascade.taxonomy.names) == set(SERVED)
    assert ("those of the taxonomy given are others" in caplog.text) is warned
    with load(tiny_home, tmp_path, taxonomy=tmp_path / "gone by now.toml") as cascade:
        assert set(cascade.taxonomy.names) == set(SERVED)
