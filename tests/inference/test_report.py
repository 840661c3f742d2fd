import contextlib
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from inference import report
from inference.bundle.manifest import IntentCertificate
from inference.log.agreement import Agreement, Sample
from inference.log.counts import confidence_bin, latency_bin
from inference.log.database import Store
from inference.log.decision_log import Count, DecisionLog
from inference.log.drift import drift, stability_index
from inference.log.figures import Figure, accuracy, quantile
from inference.log.marks import KIND, Alarm
from inference.log.rates import KIND as RATES
from inference.log.rates import WHY, Choice
from inference.log.sequence import interval
from tests.logged import answer, decision
from tests.ruled import add_own_target
from tests.services import fresh_database, postgres_url

NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
HOUR = NOW // 3600 * 3600
DAY = 86_400.0


@pytest.fixture(autouse=True)
def frozen_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def fill(url: str | Path, fallback_share: float = 0.0) -> None:
    """A thousand requests: 700 from the cache, 200 by the student, 100 deferred; 40 of all in the sample."""
    log = DecisionLog(url)
    for i in range(1000):
        intent = "payments" if i % 4 else "account"
        if i < 700:
            log.count("student", intent, True, False, True, (intent, 0.97), 0.02, seen=True)
        elif i < 900:
            log.count("student", intent, False, False, True, (intent, 0.97), 2.0)
        else:
            log.count("teacher", intent, False, True, True, (intent, 0.45), 800.0, cost_nano=50_000)
            log.put(answer(str(i), time=NOW - 60, cost_usd=0.00005))
            log.put(decision(str(i), time=NOW - 60, deferred=True, source="teacher", sampled=i < 910))
    for i in range(30):
        log.put(decision(f"s{i}", time=NOW - 50, sampled=True, cached=i < 20))
        label = None if i == 29 else "account" if i == 28 else "payments"
        log.put(answer(f"s{i}", time=NOW - 40, label=label, sampled=True, cost_usd=0.0001))
    log.put(decision("late", time=NOW - 5, sampled=True))
    log.close()


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = report.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    status, out, err = run(capsys, "--json", *arguments)
    assert (status, err) == (0, "")
    return dict(json.loads(out))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(path)
        return
    with postgres_url() as server, fresh_database(server) as fresh:
        yield fresh


def test_the_five_figures(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    fill(url)
    found = run_json(capsys, "--log", url)
    figures = found["figures"]
    assert found["requests"] == 1000
    assert figures["cost per request"]["value"] == pytest.approx((100 * 0.00005 + 30 * 0.0001) / 1000)
    assert figures["cost per request"]["waited_for_usd"] == pytest.approx(0.005)
    assert figures["LLM call rate"]["value"] == pytest.approx(0.13)
    assert (figures["LLM call rate"]["deferred"], figures["LLM call rate"]["sampled_only"]) == (100, 30)
    assert (figures["accuracy"]["agreed"], figures["accuracy"]["asked"]) == (28, 29)
    assert figures["accuracy"]["value"] == pytest.approx(28 / 29)
    assert figures["accuracy"]["interval_95"] == pytest.approx(interval(28, 29, 0.95))
    assert figures["accuracy"]["bundles"] == {"b1": 29}
    assert (figures["accuracy"]["sampled"], figures["accuracy"]["local_accepted"]) == (41, 31)
    assert figures["cache hit rate"]["value"] == pytest.approx(0.7)
    assert figures["latency p95"]["all"]["p50"] == pytest.approx(0.02, rel=0.13)
    assert figures["latency p95"]["value"] == pytest.approx(800, rel=0.13)
    assert figures["latency p95"]["local"]["p95"] == pytest.approx(2.0, rel=0.13)
    assert {name: figure["status"] for name, figure in figures.items()} == {
        "cost per request": "ok",
        "LLM call rate": "ok",
        "accuracy": "incomplete",
        "latency p95": "missed",
        "cache hit rate": "ok",
    }


def test_intents_with_their_share_and_agreement(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    assert run_json(capsys, "--log", path)["intents"] == [
        {"intent": "payments", "requests": 750, "share": 0.75, "agreed": 28, "asked": 29, "agreement": 28 / 29},
        {"intent": "account", "requests": 250, "share": 0.25, "agreed": 0, "asked": 0, "agreement": None},
    ]


def test_the_text_names_every_figure_with_its_target(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    status, out, err = run(capsys, "--log", path)
    assert (status, err) == (0, "")
    assert "1,000 requests" in out
    lines = {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}
    assert lines["cost per request"].startswith("cost per request $0.000008 < $0.0001 ok")
    assert lines["LLM call rate"].startswith("LLM call rate 13 % < 30 % ok")
    assert lines["accuracy"].startswith(
        "accuracy 96.55 % > 95 % incomplete 95 % at every look since then: 79.9 to 100.0 %; worst case 90.3 %, if all"
    )
    assert lines["latency p95"].startswith("latency p95 ")
    assert "< 200 ms missed" in lines["latency p95"]
    assert lines["cache hit rate"] == "cache hit rate 70 % > 60 % ok 700 hits"
    assert "teachers named no intent in 1 of 130 answers, for $0.0001 of the cost" in out
    assert "histograms" in out
    assert "payments         750   75.0 %   96.6 % of 29" in out
    assert "log rows dropped: none; spilled to files on the way: 0" in out


def test_only_the_sample_counts_for_accuracy_and_of_it_only_what_was_accepted_locally(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = DecisionLog(path)
    wrong: dict[str, Any] = {"label": "account", "time": NOW - 1, "sampled": True}
    for name, values in {
        "not sampled": {"sampled": False},
        "not accepted": {"sampled": True, "accepted": False},
        "by the teacher": {"sampled": True, "source": "teacher"},
        "a guess": {"sampled": True, "source": "fallback", "accepted": False},
    }.items():
        log.put(decision(name, time=NOW - 2, **values))
        log.put(answer(name, **wrong))
    log.put(decision("by a rule", time=NOW - 2, source="rules", sampled=True))
    log.put(answer("by a rule", time=NOW - 3, label="account"))  # of a call that others shared
    log.put(answer("by a rule", label=None, refusal="cut off", time=NOW - 2, sampled=True))
    log.put(answer("by a rule", time=NOW - 1, sampled=True))
    log.put(answer("unheard of", **wrong))
    log.count("rules", "payments", False, False, True, None, 1.0)
    log.close()
    accuracy = run_json(capsys, "--log", path)["figures"]["accuracy"]
    assert (accuracy["agreed"], accuracy["asked"], accuracy["local_accepted"]) == (1, 1, 1)


def test_an_empty_period_says_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    status, out, _ = run(capsys, "--log", path, "--since", "2020-01-01", "--until", "2020-01-08")
    assert (status, out.strip()) == (0, f"{path}, 2020-01-01 00:00 to 2020-01-08 00:00 UTC (whole hours): no requests")
    figures = run_json(capsys, "--log", path, "--since", "2020-01-01", "--until", "2020-01-08")["figures"]
    assert {figure["status"] for figure in figures.values()} == {"no data"}
    assert {figure["value"] for figure in figures.values()} == {None}


def test_a_period_is_made_of_whole_hours(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(Store(path)) as store:
        store.write([Count(int(HOUR) - 3600 * back, "requests", "all", 10**back, "w") for back in range(4)])
    assert run_json(capsys, "--log", path, "--since", "1h")["requests"] == 11
    assert run_json(capsys, "--log", path, "--since", "2h", "--until", "1h")["requests"] == 110
    found = run_json(capsys, "--log", path, "--since", "2026-09-21T11:59:59+00:00")
    assert (found["since"], found["until"]) == (HOUR - 3 * 3600, HOUR + 3600)


@pytest.mark.parametrize("arguments", [("--since", "soon"), ("--until", "7x"), ("--since", "1h", "--until", "3d")])
def test_a_period_that_is_none_is_one_clear_line(
    arguments: tuple[str, ...], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    status, out, err = run(capsys, "--log", path, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_log_that_cannot_be_read_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "garbage").write_bytes(b"garbage" * 1000)
    (tmp_path / "empty").touch()
    for url, reason in {
        tmp_path / "none.db": "there is no decision log",
        tmp_path / "garbage": "not a database",
        tmp_path / "empty": "is not a decision log",
        tmp_path: "there is no decision log",
        "mysql://x/y": "must be a file",
        "postgresql://me:secret@127.0.0.1:1/x": "refused",
    }.items():
        status, out, err = run(capsys, "--log", url)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert reason in err
        assert err.count("\n") == 1
        assert "secret" not in err


def test_dropped_and_spilled_rows_are_reported(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    dropped = {"dropped": {"local": 1200, "sampled": 3}, "spilled": {"rows": 44}}
    counts = [Count(int(HOUR), kind, key, n, "w") for kind, found in dropped.items() for key, n in found.items()]
    with contextlib.closing(Store(path)) as store:
        store.write(counts)
    _, out, _ = run(capsys, "--log", path)
    assert "log rows dropped: 1,200 local, 3 sampled; spilled to files on the way: 44" in out
    found = run_json(capsys, "--log", path)
    assert (found["rows_dropped"], found["rows_spilled"]) == ({"local": 1200, "sampled": 3}, 44)


def write_reference(bundle: Path, calibration: object) -> Path:
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    (bundle / "report.json").write_text(json.dumps({"calibration": calibration}))
    return bundle


def histogram(shares: dict[float, float]) -> list[float]:
    found = [0.0] * 20
    for confidence, share in shares.items():
        found[confidence_bin(confidence)] += share
    return found


def test_drift_since_calibration(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    same = {"confidence_histogram": histogram({0.97: 600, 0.45: 300}), "intent_mix": {"payments": 675, "account": 225}}
    other = {"confidence_histogram": histogram({0.97: 100, 0.45: 900}), "intent_mix": {"payments": 200, "tickets": 800}}
    drift = run_json(capsys, "--log", path, "--bundle", write_reference(tmp_path / "same", same))["drift"]
    assert {kind: found["verdict"] for kind, found in drift.items()} == {"confidence": "stable", "intent": "stable"}
    assert max(found["index"] for found in drift.values()) < 0.001
    bundle = write_reference(tmp_path / "other", other)
    drift = run_json(capsys, "--log", path, "--bundle", bundle)["drift"]
    assert drift["intent"]["verdict"] == drift["confidence"]["verdict"] == "large shift"
    _, out, _ = run(capsys, "--log", path, "--bundle", bundle)
    assert (
        "drift of intent: large shift (80.0 points apart, by chance in 0.2 % of cases; population stability index"
        in out
    )


def test_drift_without_a_reference_or_with_few_requests(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = DecisionLog(path)
    log.count("student", "payments", False, False, True, ("payments", 0.9), 1.0)
    log.close()
    none = run_json(capsys, "--log", path, "--bundle", write_reference(tmp_path / "none", {"ece": 0.01}))["drift"]
    assert {found["verdict"] for found in none.values()} == {"no reference in the bundle"}
    reference = {"confidence_histogram": histogram({0.9: 1}), "intent_mix": {"payments": 1}}
    few = run_json(capsys, "--log", path, "--bundle", write_reference(tmp_path / "few", reference))["drift"]
    assert {found["verdict"] for found in few.values()} == {"1 texts are too few, 200 are needed"}
    assert run_json(capsys, "--log", path)["drift"] is None


@pytest.mark.parametrize(
    "calibration",
    [None, [1], {"confidence_histogram": [1, 2]}, {"intent_mix": {"a": "b"}}, {"intent_mix": [1]}, {"unit": "days"}],
)
def test_a_bundle_whose_reference_cannot_be_read_is_one_clear_line(
    calibration: object, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    bundle = write_reference(tmp_path / "bad", calibration)
    for place in (bundle, tmp_path / "nowhere"):
        status, out, err = run(capsys, "--log", path, "--bundle", place)
        assert (status, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_a_real_bundle_can_be_named(path: Path, tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(path)
    assert set(run_json(capsys, "--log", path, "--bundle", tiny_home)["drift"]) == {"confidence", "intent"}


def test_intents_with_targets_of_their_own_are_shown_and_said_not_to_be_watched(
    path: Path, tiny_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    for above, told in (
        (0.9, "own target of account: 99 %, certified; it is not watched, so no alarm is raised for it"),
        (None, "own target of account: 99 %, not certified, never accepted: at least 437 right rows are lacking"),
    ):
        own = IntentCertificate(0.99, 0.01, above, intent="account", lacks=0 if above else 437)
        home = add_own_target(tiny_home, tmp_path / str(above), own)
        assert told in run(capsys, "--log", path, "--bundle", home)[1].splitlines()
        [found] = run_json(capsys, "--log", path, "--bundle", home)["own_targets"]
        assert (found["intent"], found["certified"], found["watched"]) == ("account", above is not None, False)


@given(st.lists(st.sampled_from(["agrees", "differs", "refused", "nothing", "dropped"]), max_size=60))
def test_what_is_missing_of_the_sample_never_turns_out_to_have_decided(found: list[str]) -> None:
    agreed, asked = found.count("agrees"), found.count("agrees") + found.count("differs")
    figure = of_answers(found)
    whatever = {Figure("truth", (agreed + n) / len(found), 0.95, "share", True).status
                for n in range(len(found) - asked + 1)} if found else {"no data"}  # fmt: skip
    assert figure.status == (whatever.pop() if len(whatever) == 1 else "incomplete")
    assert figure.value == (agreed / asked if asked else None)
    assert figure.detail["refused"] == found.count("refused")


def of_answers(found: list[str]) -> Figure:
    """The accuracy of a sample whose accepted local answers fared so."""
    local = len(found) - found.count("dropped")
    asked = Agreement(found.count("agrees"), found.count("agrees") + found.count("differs"))
    sample = Sample({"payments": asked}, local, local, found.count("refused"), 0, {})
    return accuracy({"dropped": Counter(sampled=found.count("dropped"))}, sample)


@pytest.mark.parametrize(
    ("unanswered", "wrong", "status", "check"), [(0, 0, "ok", 0), (0, 9, "missed", 1), (9, 0, "incomplete", 1)]
)
def test_check_says_by_its_exit_status_whether_a_target_is_missed_or_may_be(
    unanswered: int, wrong: int, status: str, check: int, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = DecisionLog(path)
    for i in range(100):
        log.put(decision(str(i), time=NOW - 2, sampled=True))
        if i >= unanswered:
            log.put(
                answer(str(i), time=NOW - 1, sampled=True, label="account" if i < unanswered + wrong else "payments")
            )
    for i in range(1000):
        log.count("student", "payments", i < 700, False, True, ("payments", 0.9), 1.0)
    log.close()
    assert run(capsys, "--log", path)[0] == 0
    found, _, err = run(capsys, "--log", path, "--check")
    assert (found, err) == (check, f"check: accuracy is {status}\n" if check else "")


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 400), st.sampled_from(["requests", "texts"]))
def test_drift_has_no_verdict_where_the_students_own_answers_are_unknown(
    known: int, by_rule: int, unknown: int, unit: str
) -> None:
    counts = {
        "requests": Counter(all=known + by_rule + unknown),
        "source": Counter(rules=by_rule),
        **{f"student_intent_{one}": Counter(payments=known) for one in ("requests", "texts")},
    }
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_reference(Path(folder) / "bundle", {"intent_mix": {"payments": 9}, "unit": unit})
        found = drift(counts, bundle)["intent"]
    incomplete = unknown > 0.05 * (known + unknown)
    assert found["verdict"].startswith("incomplete") is incomplete
    assert (found["verdict"] == "stable") is (known >= 200 and not incomplete)
    assert (found["seen"], found["unit"]) == (known, unit)


def test_the_mix_of_bundles_that_answered_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = DecisionLog(path)
    for i in range(30):
        log.count("student", "payments", False, False, True, ("payments", 0.9), 1.0)
        bundle = "4c8f506d01" if i < 20 else "8d9be8ec02"
        log.put(decision(str(i), time=NOW - 60 + i, sampled=True, bundle_id=bundle))
        log.put(answer(str(i), time=NOW - 1, sampled=True))
    log.close()
    assert "of 2 bundles: 4c8f506d 20, 8d9be8ec 10; of 30 sampled" in run(capsys, "--log", path)[1]


@given(st.lists(st.floats(0.02, 90_000), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_a_bin_of_the_true_one(times: list[float], share: float) -> None:
    counts: dict[int, int] = {}
    for ms in times:
        counts[latency_bin(ms)] = counts.get(latency_bin(ms), 0) + 1
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert quantile(counts, share) == pytest.approx(exact, rel=0.13)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 1000), max_size=6), st.integers(1, 50))
def test_a_mix_has_not_drifted_from_itself(mix: dict[str, int], scale: int) -> None:
    assume(sum(mix.values()) > 0)
    reference = {name: n / scale for name, n in mix.items()}
    assert stability_index(mix, reference) == pytest.approx(0, abs=1e-9)
    shifted = {**mix, "new": 10 * sum(mix.values())}
    assert stability_index(shifted, reference) > 0.25


def test_a_suspended_promise_is_said_with_its_price_and_ended_by_hand(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suspend(path, NOW - 2 * DAY)
    status, out, err = run(capsys, "--log", path)
    assert (status, err) == (0, "")
    assert "SUSPENDED since 2026-09-19 14:13 UTC: the promise of 0.95; only what the certificate for 0.97 covers" in out
    (found,) = run_json(capsys, "--log", path)["suspended"]
    assert (found["target"], found["accepts_at"], found["since"]) == (0.95, 0.97, NOW - 2 * DAY)
    # One in ten was deferred before, three in ten since, of ten requests an hour.
    assert found["more_calls_a_day"] == pytest.approx(0.2 * 240)
    assert found["usd_a_day"] == pytest.approx(0.2 * 240 * 0.0001)
    assert "1 suspended promises are in force again" in run(capsys, "--log", path, "--resume")[1]
    assert run_json(capsys, "--log", path)["suspended"] == []
    assert "0 suspended" in run(capsys, "--log", path, "--resume")[1]


def test_the_rate_that_the_sample_set_itself_is_said_with_its_reason(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path)
    log = DecisionLog(path)
    for rate, why in ((0.03, "unsure"), (0.01, "sure")):
        log.note(RATES, Choice(NOW - rate, "q1", rate, why).key)
    log.close()
    _, out, _ = run(capsys, "--log", path)
    assert "sample rate 1 % since" in out
    assert WHY["sure"] in out
    (found,) = run_json(capsys, "--log", path)["sample_rates"]
    assert (found["rate"], found["why"]) == (0.01, WHY["sure"])


def suspend(path: Path, since: float) -> None:
    """Ten requests an hour for nine days, of which more are deferred since the alarm."""
    with contextlib.closing(Store(path)) as store:
        for hour in range(int(HOUR) - 9 * 86_400, int(HOUR), 3600):
            deferred = 1 if hour <= since else 3
            store.write([Count(hour, "requests", "all", 10, "w"), Count(hour, "flag", "deferred", deferred, "w")])
        mark = Alarm(since, "q1", 0.95, 0.97)
        store.write([Count(int(since) // 3600 * 3600, KIND, mark.key, 1, "w"), answer("one", time=NOW - 60)])
