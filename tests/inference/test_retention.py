from pathlib import Path

import pytest

from inference.log.counts import DAY_S
from inference.log.database import Store
from inference.log.decision_log import DecisionLog
from inference.log.limits import Limits
from inference.log.retention import EVERY_S, Retention
from inference.log.spill import Sink, Spill
from inference.serving.policy import Policy
from tests.logged import answer, correction, decision, locked, wait_until

NOW = 1_800_000_000.0
OLD, YOUNG = NOW - 31 * DAY_S, NOW - 29 * DAY_S


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def texts(log: DecisionLog) -> set[str]:
    return {row.text for rows in (log.read_decisions(), log.read_answers(), log.read_corrections()) for row in rows}


def aged(store: Store, count: int = 1) -> None:
    for make in (decision, answer, correction):
        store.write([make(f"old {i}", time=OLD) for i in range(count)] + [make("young", time=YOUNG)])


def test_the_writer_deletes_what_is_too_old_and_looks_again_within_the_hour(tmp_path: Path) -> None:
    clock = Clock()
    aged(Store(tmp_path / "log.db"))
    log = DecisionLog(tmp_path / "log.db", retention_days=30, now=clock)
    log.count("student", "payments", False, False, True, ("payments", 0.93), 1.2)
    log.put(decision("new", time=NOW))
    wait_until(lambda: log.stats()["expired"] == 3)
    assert texts(log) == {"text of young", "text of new"}
    clock.now += 2 * DAY_S
    log.put(decision("newer", time=clock.now))
    wait_until(lambda: log.stats()["expired"] == 6)
    assert texts(log) == {"text of new", "text of newer"}
    log.close()
    assert [count.n for count in log.read_counts() if count.kind == "requests"] == [1]


def test_all_is_kept_unless_a_person_says_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path / "log.db")
    aged(store)
    retention = Retention(Sink(store, None), Policy().retention_days, Clock())
    retention.apply()
    assert retention.stats["expired"] == 0
    assert len(list(store.read(type(decision("d")), 0.0, None))) == 2


def test_it_goes_on_in_pieces_until_nothing_is_left_and_then_rests_for_an_hour(tmp_path: Path) -> None:
    clock, store = Clock(), Store(tmp_path / "log.db", Limits(purged_at_once=2))
    retention = Retention(Sink(store, None), 30, clock)
    aged(store, 5)
    pieces = []
    for _ in range(4):
        before = retention.stats["expired"]
        retention.apply()
        pieces.append(retention.stats["expired"] - before)
    assert pieces == [6, 6, 3, 0]
    aged(store, 5)
    retention.apply()
    assert retention.stats["expired"] == 15
    clock.now += EVERY_S
    retention.apply()
    assert retention.stats["expired"] == 21


def test_spill_files_of_processes_that_are_gone_lose_what_is_too_old(tmp_path: Path) -> None:
    dead = Spill(tmp_path / "spill")
    dead.append([answer("old", time=OLD), answer("young", time=YOUNG)])
    dead.close()
    retention = Retention(Sink(Store(tmp_path / "log.db"), tmp_path / "spill"), 30, Clock())
    retention._sink.store.write([])
    retention.apply()
    (path,) = (tmp_path / "spill").iterdir()
    assert b"text of young" in path.read_bytes()
    assert b"text of old" not in path.read_bytes()
    assert retention.stats["expired"] == 1


def test_a_log_that_cannot_be_written_is_counted_and_tried_again_an_hour_later(tmp_path: Path) -> None:
    clock, store = Clock(), Store(tmp_path / "log.db")
    aged(store)
    retention = Retention(Sink(store, None), 30, clock)
    with locked(tmp_path / "log.db"):
        retention.apply()
        retention.apply()
    assert retention.stats == {"expired": 0, "expiry_failures": 1}
    clock.now += EVERY_S
    retention.apply()
    assert retention.stats == {"expired": 3, "expiry_failures": 1}


@pytest.mark.parametrize("days", [-1.0, float("nan"), float("inf")])
def test_days_that_are_none_are_refused(days: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="retention_days must"):
        DecisionLog(tmp_path / "log.db", retention_days=days)
    with pytest.raises(ValueError, match="retention_days must not be negative"):
        Policy(retention_days=days)
