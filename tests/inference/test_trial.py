"""A version on trial: what it may answer, what is kept of it, and what a report says of both."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.bundle import trial
from inference.bundle.manifest import CURRENT, BundleError
from inference.bundle.versions import REJECTED, promote, rollback
from inference.bundle.versions import TRIAL as FILE
from inference.cascade import Cascade
from inference.classifier import Classifier
from inference.log import DecisionLog
from inference.log.rows import SERVING, TRIAL, Decision, TrialAnswer
from inference.log.sequence import interval
from inference.log.trial import compare
from inference.report import main as report
from inference.serving.policy import Policy
from inference.serving.sample import Sampler
from inference.serving.tier import Tier
from inference.serving.trial import Beside, OnTrial
from tests.inference.test_guard import break_promise, look_again
from tests.inference.test_watch import NEWER, publish
from tests.logged import answer, decision, wait_until
from tests.tiny import tiny_rows
from training.publish import main

TEXTS = [row["text"] for row in tiny_rows()][:120]
EVER = 1e12


def teacher(text: str) -> str:
    return "account" if "a" in text.split()[0] else "payments"


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    """A serving version, and a newer one that is much less sure of itself."""
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    serves = (home / CURRENT).read_text()
    publish(home, temperature=less_sure(Classifier.load(home, target=0.9)))
    (home / CURRENT).write_text(serves)
    return home


def less_sure(classifier: Classifier) -> float:
    """The temperature at which about half of TEXTS is still accepted."""
    manifest = classifier.bundle.manifest

    def off(temperature: float) -> int:
        warm = classifier.at(0.9, replace(manifest, temperature=temperature))
        return abs(len(TEXTS) // 2 - sum(warm.predict(text).accepted for text in TEXTS))

    return min((manifest.temperature * factor for factor in np.geomspace(1.1, 30, 25).tolist()), key=off)


def command(home: Path, *arguments: str) -> int:
    return main(["--models", str(home.parent), "--name", home.name, *arguments])


def load(home: Path, **settings: Any) -> Cascade:
    return Cascade.load(home, teacher, **{"target": 0.9, "sample_rate": 1.0, "deadline_s": 30.0, **settings})


def rows(home: Path) -> list[TrialAnswer]:
    return list(DecisionLog(home / "decisions.db").read_trial())


def decisions(home: Path) -> list[Decision]:
    return list(DecisionLog(home / "decisions.db").read_decisions())


def bundle(home: Path, version: str = "") -> Classifier:
    return Classifier.load(home / version, target=0.9)


# In the log alone.


def test_a_shadow_answers_no_caller_and_its_figures_are_those_of_an_offline_run(home: Path) -> None:
    assert command(home, "--shadow", "latest") == 0
    with load(home) as cascade:
        served = [cascade.classify(text) for text in TEXTS]
        assert cascade.stats()["trial"]["version"] == NEWER
    old, new = bundle(home), bundle(home, NEWER)
    assert {one.bundle_id for one in served} == {old.bundle.manifest.bundle_id}
    kept = {(row.request_id, row.role): row for row in rows(home)}
    labels = [teacher(text) for text in TEXTS]
    found = compare(DecisionLog(home / "decisions.db"), 0.0, EVER)
    assert found is not None
    for role, classifier in ((SERVING, old), (TRIAL, new)):
        offline = [classifier.predict(text) for text in TEXTS]
        for one, said in zip(served, offline, strict=True):
            row = kept[one.id, role]
            assert (row.intent, row.accepted) == (said.intent, said.accepted)
            assert row.confidence == said.confidence
            assert row.bundle_id == classifier.bundle.manifest.bundle_id
        accepted = sum(said.accepted for said in offline)
        agreed = sum(said.accepted and said.intent == label for said, label in zip(offline, labels, strict=True))
        share = None if not accepted else agreed / accepted
        sure, right = interval(accepted, 120, 0.8), interval(agreed, accepted, 0.95)
        assert found[role]["accepted"] == {"share": accepted / 120, "n": accepted, "of": 120, "interval_95": sure}
        assert found[role]["agreement"] == {"share": share, "n": agreed, "of": accepted, "interval_95": right}
        assert 0 < agreed < accepted
    assert (found["requests"], found["canary"]) == (120, 0)


def test_without_a_trial_nothing_is_kept_and_a_request_that_is_not_sampled_is_not_compared(home: Path) -> None:
    with load(home) as cascade:
        cascade.classify(TEXTS[0])
        assert cascade.stats()["trial"] is None
    assert rows(home) == []
    command(home, "--shadow", NEWER)
    with load(home, sample_rate=0.0) as cascade:
        cascade.classify(TEXTS[0])
    assert rows(home) == []
    assert compare(DecisionLog(home / "decisions.db"), 0.0, EVER) is None


def test_it_begins_and_ends_while_a_cascade_serves(home: Path) -> None:
    with load(home) as cascade:
        cascade.classify(TEXTS[0])
        command(home, "--shadow", NEWER)
        wait_until(lambda: cascade.stats()["trial"] is not None)
        command(home, "--shadow", "off")
        wait_until(lambda: cascade.stats()["trial"] is None)


@pytest.mark.parametrize("fault", ["damaged file", "damaged model", "another path"])
def test_a_trial_that_cannot_be_loaded_is_told_once_and_the_serving_bundle_goes_on(
    home: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    command(home, "--shadow", NEWER)
    if fault == "damaged file":
        (home / FILE).write_text("{")
    elif fault == "another path":
        values = json.loads((home / FILE).read_text())
        (home / FILE).write_text(json.dumps(values | {"version": "../elsewhere"}))
    else:
        (home / NEWER / "model.onnx").write_bytes(b"no model")
    with caplog.at_level(logging.WARNING, "monoku"), load(home) as cascade:
        for _ in range(3):
            cascade._watch.look()
        assert cascade.classify(TEXTS[0]).intent is not None
        assert cascade.stats()["trial"]["refused"]
        command(home, "--shadow", "off")
        wait_until(lambda: cascade.stats()["trial"] is None)
    assert caplog.text.count("a trial is refused") == 1


def test_a_full_queue_drops_and_counts_and_a_model_that_fails_harms_nobody(home: Path) -> None:
    tier = Tier(home, Policy(target=0.9), None)
    beside = Beside(DecisionLog(home / "decisions.db"), lambda text: text, most=2)
    with load(home, log="none") as cascade:
        request = cascade._begin(TEXTS[0], None)
    on_trial = OnTrial(NEWER, 0.0, tier, tier, beside)
    held = beside.worker._lock
    with held:  # no thread starts meanwhile
        beside.worker.running = True
        for _ in range(5):
            beside.put(request, on_trial)
    assert beside.counts["dropped"] == 3
    beside._step()
    assert beside.counts["answered"] == 2
    broken = Beside(DecisionLog(home / "decisions.db"), lambda text: text[:-1] / 2, most=2)  # type: ignore[operator]
    broken._waiting.append((request, OnTrial(NEWER, 0.0, tier, tier, broken)))
    broken._step()
    assert broken.counts["failed"] == 1


# A canary.


def test_a_share_of_the_callers_has_its_answers_whatever_is_sampled_or_cached(home: Path) -> None:
    command(home, "--shadow", NEWER)
    assert command(home, "--canary", "30") == 0
    with load(home, sample_rate=0.5) as cascade:
        answers = [cascade.classify(text) for _ in range(4) for text in TEXTS]
    old, new = (bundle(home, version).bundle.manifest.bundle_id for version in ("", NEWER))
    counts = Counter(one.bundle_id for one in answers)
    assert set(counts) == {old, new}
    assert abs(counts[new] - 144) < 6 * 10  # six standard deviations
    sampled = Counter(row.bundle_id for row in decisions(home) if row.sampled)
    assert abs(sampled[new] / counts[new] - 0.5) < 6 * 0.05, "its requests are sampled as often as all others"
    offline = bundle(home, NEWER)
    local = [(text, one) for text, one in zip(TEXTS * 4, answers, strict=True) if one.bundle_id == new]
    for text, one in local:
        if one.source in ("rules", "exit", "student"):
            assert one.intent == offline.predict(text).intent
            assert not one.cached
    found = compare(DecisionLog(home / "decisions.db"), 0.0, EVER)
    assert found is not None
    assert found["canary"] == sampled[new]
    assert found["requests"] == sum(sampled.values())


def test_what_the_canary_is_not_sure_of_is_not_answered_by_the_serving_bundles_cache(home: Path) -> None:
    with load(home, sample_rate=0.0) as cascade:
        before = [cascade.classify(text).source for text in TEXTS]
        command(home, "--shadow", NEWER)
        command(home, "--canary", "100")
        wait_until(lambda: (cascade.stats()["trial"] or {}).get("share") == 1.0)
        found = [cascade.classify(text) for text in TEXTS]
    sure = [said.accepted for said in map(bundle(home, NEWER).predict, TEXTS)]
    assert before.count("student") > sure.count(True) > 0
    assert [one.source == "student" for one in found] == sure


def test_a_retry_finds_the_same_bundle_and_none_of_it_depends_on_what_is_sampled() -> None:
    draws = Sampler(Policy(), bytes(32))
    numbers = [draws.draw(f"text {i}", "id", True).number for i in range(6_000)]
    anew = [draws.anew(number) for number in numbers]
    assert anew == [Sampler(Policy(), bytes(32)).anew(number) for number in numbers]
    for low in (0.01, 0.1):
        both = sum(number < low and other < 0.05 for number, other in zip(numbers, anew, strict=True))
        expected = 6_000 * low * 0.05
        assert abs(both - expected) < 6 * expected**0.5


def test_while_the_promise_is_suspended_no_caller_has_its_answers(home: Path) -> None:
    command(home, "--shadow", NEWER)
    command(home, "--canary", "100")
    with load(home) as cascade:
        assert cascade.classify(TEXTS[0]).bundle_id == bundle(home, NEWER).bundle.manifest.bundle_id
        assert cascade.stats()["trial"]["share"] == 1.0
        break_promise(home, Tier(home, Policy(target=0.9), None))
        wait_until(lambda: look_again(cascade) == "suspended")
        wait_until(lambda: cascade.stats()["trial"]["share"] == 0.0)
        assert cascade.classify(TEXTS[1]).bundle_id == bundle(home).bundle.manifest.bundle_id


# The command.


def test_a_trial_is_begun_given_callers_and_ended_by_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(home, "--canary", "5") == 2
    assert "no version is on trial: begin with --shadow VERSION" in capsys.readouterr().err
    command(home, "--shadow", NEWER)
    command(home, "--canary", "2.5")
    serves = (home / CURRENT).read_text().strip()
    assert trial.on_trial(home) == trial.Trial(NEWER, serves, 0.025)
    command(home, "--list")
    assert f"{NEWER}  on trial, 2.5 % of the callers" in capsys.readouterr().out
    command(home, "--canary", "off")
    assert trial.on_trial(home) == trial.Trial(NEWER, serves)
    command(home, "--shadow", "off")
    assert trial.on_trial(home) is None
    assert command(home, "--canary", "some") == 2
    assert "--canary must be a number of per cent or off, got 'some'" in capsys.readouterr().err
    assert command(home, "--shadow", serves) == 2
    assert "serves: choose another version" in capsys.readouterr().err
    assert command(home, "--shadow", "20200101T000000Z-00000000") == 2


def test_what_the_gate_rejected_may_be_a_shadow_but_answers_no_caller_and_is_not_promoted_unless_forced(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / NEWER / REJECTED).write_text(json.dumps(["it defers more"]))
    assert command(home, "--shadow", NEWER) == 0
    for asked in (["--canary", "5"], ["--promote", NEWER]):
        assert command(home, *asked) == 2
        assert "was rejected: it defers more. Add --force" in capsys.readouterr().err
        assert trial.on_trial(home) is not None
    assert command(home, "--canary", "5", "--force") == 0


def test_any_switch_ends_the_trial_for_good(home: Path) -> None:
    serves = (home / CURRENT).read_text().strip()
    for end in (lambda: promote(home, NEWER), lambda: rollback(home)):
        before = (home / CURRENT).read_text().strip()
        trial.begin(home, NEWER if before == serves else serves)
        assert trial.on_trial(home) is not None
        end()
        assert trial.on_trial(home) is None
        assert not (home / FILE).exists()


def test_a_trial_is_over_once_another_version_serves(home: Path) -> None:
    command(home, "--shadow", NEWER)
    (home / CURRENT).write_text(NEWER)
    assert trial.on_trial(home) is None
    with pytest.raises(ValueError, match="no version is on trial"):
        trial.give(home, 0.05)


@pytest.mark.parametrize("percent", ["-1", "101", "nan"])
def test_a_share_that_is_none_is_refused(home: Path, percent: str) -> None:
    trial.begin(home, NEWER)
    assert command(home, "--canary", percent) == 2


def test_without_a_serving_version_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="a trial needs one to answer beside"):
        trial.begin(tmp_path, "latest")


# What a report says.


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DecisionLog]:
    log = DecisionLog(tmp_path / "log.db")
    yield log
    log.close()


def said(name: str, role: str, bundle_id: str, intent: str = "payments", accepted: bool = True) -> TrialAnswer:
    return TrialAnswer(name, 1000.0, role, bundle_id, intent, 0.9, accepted, "student", 2.0 if role == SERVING else 1.0)


def both(name: str, old: str, new: str, bundles: tuple[str, str] = ("b1", "b2")) -> list[TrialAnswer]:
    return [
        said(name, role, of, intent) for role, of, intent in zip((SERVING, TRIAL), bundles, (old, new), strict=True)
    ]


def test_the_same_requests_judge_both_and_a_refusal_is_no_agreement(log: DecisionLog) -> None:
    made = [*both("r1", "payments", "payments"), *both("r2", "payments", "account"), *both("r3", "account", "payments")]
    made += both("r4", "payments", "payments")
    others = [*both("old", "payments", "account", ("b0", "b1")), said("half", TRIAL, "b2")]
    for row in [*(row for row in others), *made]:
        log.put(row)
    for name in ("r1", "r2", "r3", "r4", "old"):
        log.put(decision(name, time=1000.0, sampled=True, bundle_id="b2" if name == "r1" else "b1"))
    for name, label in (("r1", "payments"), ("r2", "account"), ("r3", "payments")):
        log.put(answer(name, time=1001.0, sampled=True, label=label))
    log.put(answer("r4", time=1001.0, sampled=True, label=None, refusal="cannot say"))
    log.close()
    found = compare(log, 0.0, EVER)
    assert found is not None
    assert (found["requests"], found["canary"], found["differ"], found["differ_judged"]) == (4, 1, 2, 2)
    assert [found[role]["alone_right"] for role in (SERVING, TRIAL)] == [0, 2]
    assert [(found[role]["agreement"]["n"], found[role]["agreement"]["of"]) for role in (SERVING, TRIAL)] == [
        (1, 4),
        (3, 4),
    ]
    assert [found[role]["p50_ms"] for role in (SERVING, TRIAL)] == [2.0, 1.0]


def test_the_report_shows_both_side_by_side(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command(home, "--shadow", NEWER)
    with load(home) as cascade:
        for text in TEXTS[:20]:
            cascade.classify(text)
    capsys.readouterr()
    assert report(["--log", str(home / "decisions.db"), "--since", "2h"]) == 0
    out = capsys.readouterr().out
    assert "on trial: 20 requests of the sample, which both bundles answered; 0 callers among them" in out
    ids = [bundle(home, version).bundle.manifest.bundle_id[:8] for version in ("", NEWER)]
    assert f"serving {ids[0]}" in out
    assert f"on trial {ids[1]}" in out
    assert "% of 20 (" in out
    assert report(["--log", str(home / "decisions.db"), "--since", "2h", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trial"]["requests"] == 20
