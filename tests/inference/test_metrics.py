"""Metrics: what a cascade counted, as Prometheus reads it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from inference.cascade import Cascade
from inference.log.figures import summarise
from inference.money.ledger import Ledger
from inference.service.crew import Crew
from inference.service.figures import METRICS, Figures, combine
from inference.service.metrics import Collector, exposition

TEXTS = ["undo the refund please", "undo the login please", "undo the refund please", "a private question"]


def read(exposed: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(exposed.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def total(found: dict[Any, float], name: str, **labels: str) -> float:
    return sum(
        value for (known, given), value in found.items() if known == name and labels.items() <= dict(given).items()
    )


@pytest.fixture
def cascade(tiny_home: Path, tmp_path: Path) -> Any:
    settings: dict[str, Any] = {"log": str(tmp_path / "log.db"), "ledger": str(tmp_path / "spend.db"), "daily_usd": 5.0}
    with Cascade.load(tiny_home, lambda text: "account", sample_rate=0.0, deadline_s=30.0, **settings) as found:
        yield found


def test_the_counters_equal_what_the_report_counts(cascade: Cascade, tmp_path: Path) -> None:
    collector = Collector(cascade)
    for text in TEXTS:
        cascade.classify(text)
    found = read(exposition(collector))
    cascade.close()
    assert cascade.log is not None
    report = summarise(cascade.log, 0.0, 2e10, None)
    assert total(found, "monoku_requests_total") == report["requests"] == len(TEXTS)
    by_intent = {row["intent"]: row["requests"] for row in report["intents"]}
    assert {intent: total(found, "monoku_intent_requests_total", intent=intent) for intent in by_intent} == by_intent
    assert total(found, "monoku_cached_requests_total") == 1
    assert total(found, "monoku_latency_seconds_bucket", le="+Inf") == len(TEXTS)
    assert 0 < total(found, "monoku_latency_seconds_sum") < 120


def test_no_text_is_in_any_label(cascade: Cascade) -> None:
    collector = Collector(cascade)
    for text in TEXTS:
        cascade.classify(text, id=text)
    assert not [text for text in TEXTS if text.encode() in exposition(collector)]


def test_the_state_of_every_part_is_there(cascade: Cascade) -> None:
    found = read(exposition(Collector(cascade)))
    assert total(found, "monoku_spend_cap_usd") == 5.0
    assert total(found, "monoku_log_healthy") == 1.0
    assert total(found, "monoku_breaker", state="closed") == 1.0
    assert total(found, "monoku_promise") == 1.0
    assert total(found, "monoku_bundle_info") == 1.0


def test_a_cascade_without_teacher_and_log_has_metrics_too(tiny_home: Path) -> None:
    with Cascade.load(tiny_home, log="none") as cascade:
        registry = CollectorRegistry()
        registry.register(Collector(cascade))
        names = {metric.name for metric in registry.collect()}
    assert "monoku_promise" in names
    assert not [name for name in names if name.startswith(("monoku_log", "monoku_sp", "monoku_redis"))]


def test_nothing_is_measured_until_somebody_collects(cascade: Cascade) -> None:
    cascade.classify(TEXTS[0])
    assert cascade.stats()["measured"] is None
    Collector(cascade)
    cascade.classify(TEXTS[1])
    cascade.measure()  # a second collector does not begin anew
    measured = cascade.stats()["measured"]
    assert measured["intents"] == {"student": {"account": 1}}
    assert sum(measured["latency"]["student"]["bins"]) == 1


def test_what_a_ledger_knows_is_what_it_last_booked(tmp_path: Path) -> None:
    day = [1.0]
    ledger = Ledger(tmp_path / "spend.db", 2.0, now=lambda: day[0] * 86_400)
    reservation = ledger.reserve(300_000_000)
    assert ledger.known() == {
        "period": "1970-01-02", "cap_usd": 2.0, "measured_usd": 0.0, "unsure_usd": 0.0, "reserved_usd": 0.3,
    }  # fmt: skip
    ledger.settle(reservation, 100_000_000)
    assert (ledger.known()["measured_usd"], ledger.known()["reserved_usd"]) == (0.1, 0.0)
    day[0] = 2.0
    assert (ledger.known()["period"], ledger.known()["measured_usd"]) == ("1970-01-03", 0.0)
    ledger.close()


COUNTS = st.fixed_dictionaries({("student",): st.integers(0, 9), ("teacher",): st.integers(0, 9)})
PROCESSES = st.lists(
    st.fixed_dictionaries(
        {
            "requests": COUNTS,
            "log_waiting_rows": st.fixed_dictionaries({(): st.integers(0, 9)}),
            "log_healthy": st.fixed_dictionaries({(): st.sampled_from([0.0, 1.0])}),
            "spent_usd": st.fixed_dictionaries({(): st.integers(0, 9)}),
            "latency_seconds": st.fixed_dictionaries(
                {("student",): st.lists(st.integers(0, 9), min_size=3, max_size=3)}
            ),
        }
    ),
    min_size=1,
    max_size=4,
)


@given(PROCESSES, PROCESSES)
def test_processes_add_up_and_of_an_ended_one_its_counters_stay(living: list[Figures], ended: list[Figures]) -> None:
    found = combine(living, ended)
    everybody = [*living, *ended]
    for labels in (("student",), ("teacher",)):
        assert found["requests"][labels] == sum(each["requests"][labels] for each in everybody)
    assert found["latency_seconds"]["student",] == [
        sum(each["latency_seconds"]["student",][bin] for each in everybody) for bin in range(3)
    ]
    assert found["log_waiting_rows"][()] == sum(each["log_waiting_rows"][()] for each in living)
    assert found["log_healthy"][()] == min(each["log_healthy"][()] for each in living)
    assert found["spent_usd"][()] == max(each["spent_usd"][()] for each in living)


def test_a_worker_answers_for_all_of_them(tmp_path: Path) -> None:
    counted = {"first": 3, "second": 4}

    def of(name: str) -> Crew:
        return Crew(tmp_path, lambda: {"requests": {("student",): counted[name]}, "processes": {(): 1}}, 0.01)

    first, second = of("first"), of("second")
    second.stop()  # it writes for the last time
    counted["first"] += 10
    assert first.figures() == {"requests": {("student",): 17}, "processes": {(): 1}}
    (written,) = tmp_path.glob("*.json")
    values = json.loads(written.read_text())
    written.write_text(json.dumps(values | {"ended": False}))
    assert first.figures()["processes"] == {(): 2}
    written.write_text(json.dumps(values | {"ended": False, "time": values["time"] - 1000}))  # it was killed
    assert first.figures()["processes"] == {(): 1}


def test_every_metric_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.help.endswith(".") for metric in METRICS)
