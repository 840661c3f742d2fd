import os
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.manifest import CURRENT, BundleError, IntentCertificate, read_manifest
from inference.cascade import Cascade
from inference.log.database import Store
from inference.log.decision_log import DecisionLog
from inference.log.lookout import RECENT
from inference.log.marks import BY_HAND, KIND, End
from inference.log.rates import KIND as RATES
from inference.log.rates import WHY, Choice
from inference.log.rows import Count
from inference.serving.guard import Guard
from inference.serving.policy import Policy
from inference.serving.tier import Tier
from inference.serving.watch import Watch
from tests.audited import audited, write
from tests.forks import holds_in_child, needs_fork
from tests.inference.test_watch import publish
from tests.logged import wait_until
from tests.ruled import add_own_target
from tests.tiny import tiny_rows

CLEAR = "send the invoice please"


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_home, tmp_path / "tiny"))


@pytest.fixture
def tier(home: Path) -> Tier:
    return Tier(home, Policy(target=0.9), None)


def break_promise(home: Path, tier: Tier, confidence: float = 0.0) -> None:
    """Forty audited answers that are wrong, of a while ago; without a confidence, of a version that is gone."""
    question, bundle_id = tier.taxonomy.question_id(), tier.bundle_id if confidence else "gone"
    wrong = audited([False] * 40, time.time() - 100, bundle_id, question, confidence)
    write(DecisionLog(home / "decisions.db"), wrong)


def guard(home: Path, **settings: Any) -> Guard:
    values: dict[str, Any] = {"target": 0.9, **settings}
    return Guard(DecisionLog(home / "decisions.db"), home, Policy(**values), every_s=0.02)


def looked(home: Path, tier: Tier, **settings: Any) -> tuple[Guard, Tier | None]:
    found = guard(home, **settings)
    found.begin(tier)
    found.start()
    wait_until(lambda: "audited" in found.state() or found.state()["state"] == "off")
    found.worker.stop(5)
    return found, found.serves(tier)


def look_again(cascade: Cascade) -> str:
    """Have it look now, and not within ten seconds; the promise's state until then."""
    watching = cascade._watch.guard
    assert watching is not None
    watching.worker.wake()
    return str(cascade.stats()["promise"]["state"])


def test_while_the_promise_holds_what_is_loaded_serves(home: Path, tier: Tier) -> None:
    question = tier.taxonomy.question_id()
    write(DecisionLog(home / "decisions.db"), audited([True] * 40, time.time() - 1000, tier.bundle_id, question))
    found, serves = looked(home, tier)
    assert serves is tier
    assert found.state()["state"] == "watching"
    assert (found.state()["audited"], found.state()["agreed"]) == (40, 40)


def test_a_broken_promise_is_suspended_and_a_stricter_threshold_serves(home: Path, tier: Tier) -> None:
    break_promise(home, tier)
    found, serves = looked(home, tier)
    state = found.state()
    assert (state["state"], state["target"]) == ("suspended", 0.9)
    assert state["accepts_at"] > 0.9
    assert "the promise of 0.9 is suspended" in state["why"]
    assert serves is not None
    assert serves.classifier.certificate is not None
    assert serves.classifier.certificate.target == state["accepts_at"]
    assert serves.bundle_id == tier.bundle_id
    assert serves.serving != tier.serving, "what was cached before does not hold"


@pytest.mark.parametrize(("on_broken", "accepted"), [("defer", False), ("warn", True)])
def test_the_policy_says_what_follows(home: Path, tier: Tier, on_broken: str, accepted: bool) -> None:
    assert tier.guess(CLEAR).accepted
    break_promise(home, tier)
    found, serves = looked(home, tier, on_broken=on_broken)
    assert found.state()["state"] == "suspended"
    assert serves is not None
    assert serves.guess(CLEAR).accepted is accepted
    assert found.state()["accepts_at"] == (0.9 if accepted else None)


def test_a_process_that_starts_later_serves_less_from_its_first_request_on(home: Path, tier: Tier) -> None:
    break_promise(home, tier)
    first, _ = looked(home, tier, on_broken="defer")
    first._log.close()  # type: ignore[union-attr]
    second = guard(home, on_broken="defer")
    serves = second.begin(tier)
    assert serves is not None
    assert not serves.guess(CLEAR).accepted


def test_the_applications_own_alarm_is_called_once_with_the_state(home: Path, tier: Tier) -> None:
    told: list[Mapping[str, Any]] = []
    called = threading.Event()

    def on_alarm(state: Mapping[str, Any]) -> None:
        told.append(state)
        called.set()
        raise RuntimeError("a pager that is out of order")

    break_promise(home, tier)
    with Cascade.load(home, lambda text: "account", target=0.9, on_alarm=on_alarm) as cascade:
        cascade.classify(CLEAR)
        assert called.wait(60)
        wait_until(lambda: cascade.stats()["promise"]["state"] == "suspended")
    assert [state["state"] for state in told] == ["suspended"]
    with Cascade.load(home, lambda text: "account", target=0.9, on_alarm=on_alarm) as cascade:
        cascade.classify(CLEAR)
        wait_until(lambda: "audited" in cascade.stats()["promise"])
    assert len(told) == 1, "a restart is no new alarm"


def test_a_cascade_answers_from_the_teacher_then_and_from_no_cache_of_before(home: Path, tier: Tier) -> None:
    with Cascade.load(home, lambda text: "account", target=0.9, on_broken="defer") as cascade:
        assert [cascade.classify(CLEAR).source for _ in range(2)] == ["student", "student"]
        break_promise(home, tier)
        wait_until(lambda: look_again(cascade) == "suspended")
        wait_until(lambda: cascade.classify(CLEAR).source == "teacher")
        assert cascade.classify("stop the refund please").source == "teacher"
        log = cascade.log
        assert log is not None
        log.note(KIND, End(time.time(), tier.taxonomy.question_id(), BY_HAND).key)
        wait_until(lambda: look_again(cascade) == "watching")
        fresh = iter([row["text"] for row in tiny_rows() if row["label"] == "payments"])
        wait_until(lambda: cascade.classify(next(fresh)).source == "student")


def test_a_bundle_that_was_calibrated_since_the_alarm_ends_it(home: Path, tier: Tier) -> None:
    break_promise(home, tier)
    found, _ = looked(home, tier, on_broken="defer")
    assert found.state()["state"] == "suspended"
    lineage = {**read_manifest(home / (home / CURRENT).read_text().strip()).lineage, RECENT: time.time()}
    publish(home, lineage=lineage)
    newer = Tier(home, Policy(target=0.9), None)
    found, serves = looked(home, newer, on_broken="defer")
    assert serves is newer
    assert found.state()["state"] == "watching"


@pytest.mark.parametrize(
    ("settings", "teachers", "why"),
    [
        ({}, False, "there is no teacher"),
        ({"deferral": "never"}, True, "the policy never defers"),
        ({"sample_rate": 0.0}, True, "sample_rate is 0"),
        ({"strategy": "hybrid"}, True, "the strategy hybrid accepts nothing by a certificate"),
    ],
)
def test_what_cannot_be_watched_is_off_and_says_why(
    home: Path, settings: dict[str, Any], teachers: bool, why: str
) -> None:
    policy = Policy(target=0.9, **settings)
    tier = Tier(home, policy, None)
    found = Guard(DecisionLog(home / "decisions.db"), home, policy, teachers)
    assert found.begin(tier) is tier
    assert found.state() == {"state": "off", "why": why}


def test_without_a_log_or_a_bundle_it_is_off(home: Path, tier: Tier) -> None:
    found = Guard(None, home, Policy(target=0.9))
    assert found.begin(tier) is tier
    assert found.state()["why"] == "there is no decision log"
    found = guard(home)
    assert found.begin(None) is None
    assert found.state()["why"] == "there is no bundle yet"


def test_a_log_that_cannot_be_read_makes_it_blind_and_changes_nothing(home: Path, tier: Tier) -> None:
    (home / "decisions.db").write_bytes(b"no database" * 100)
    found = guard(home)
    assert found.begin(tier) is tier
    assert found.state()["state"] == "blind"
    assert found.state()["since"] == pytest.approx(time.time(), abs=60)


def test_a_broken_promise_is_suspended_though_a_newer_bundle_cannot_be_fetched(home: Path, tier: Tier) -> None:
    watch = Watch(home, Policy(target=0.9), url=(home / "gone").as_uri(), fetch_every_s=0.0)
    watch.watched_by(guard(home))
    break_promise(home, tier)

    def suspended() -> bool:
        with pytest.raises(BundleError, match="cannot be read"):
            watch.look()
        return watch.tier is not watch.loaded

    wait_until(suspended)
    watch.stop()


def test_the_samples_rate_is_the_chosen_one_from_the_start_though_nothing_is_certified(home: Path, tier: Tier) -> None:
    log = DecisionLog(home / "decisions.db")
    log.note(RATES, Choice(time.time() - 100, tier.taxonomy.question_id(), 0.3, "uncertified").key)
    log.close()
    found = guard(home, sample_rate="auto", strategy="tiered")
    found.begin(Tier(home, Policy(strategy="tiered"), None))
    assert found.pace.state()["rate"] == 0.3


def test_the_samples_rate_follows_what_is_chosen_from_the_first_request_on_and_says_why(home: Path, tier: Tier) -> None:
    chosen, log = time.time() - 100, DecisionLog(home / "decisions.db")
    log.note(RATES, Choice(chosen, tier.taxonomy.question_id(), 1.0, "unsure").key)
    log.close()
    with Cascade.load(home, lambda text: "account", target=0.9, sample_rate="auto") as cascade:
        state = cascade.stats()["sample"]
        cascade.classify(CLEAR)
    assert (state["rate"], state["since"]) == (1.0, chosen)
    assert "is not known within 4 points" in state["why"]
    (row,) = log.read_decisions()
    assert (row.sampled, row.rate, row.epoch) == (True, 1.0, f"auto 1 since {chosen:.0f}")


def test_the_rate_is_chosen_by_the_traffic_and_by_what_is_known_of_the_bundle(home: Path, tier: Tier) -> None:
    store, hour = Store(home / "decisions.db"), int(time.time() // 3600)
    store.write([Count(3600 * one, "requests", "all", 400, "w") for one in range(hour - 26, hour)])
    store.close()
    question = tier.taxonomy.question_id()
    write(DecisionLog(home / "decisions.db"), audited([True] * 400, time.time() - 1000, tier.bundle_id, question))
    found, _ = looked(home, tier, sample_rate="auto")
    wait_until(lambda: found.pace.state()["since"] is not None)
    assert (found.pace.state()["rate"], found.pace.state()["why"]) == (0.003, WHY["sure"])
    found, _ = looked(home, Tier(home, Policy(target=0.9, strategy="tiered"), None), strategy="tiered")
    assert found.pace.state() == {"rate": 0.01, "why": "sample_rate", "since": None}


@pytest.mark.parametrize(("deferral", "why"), [("never", "the policy never defers"), ("wait", WHY["first"])])
def test_a_rate_that_nothing_sets_yet_is_one_per_cent(home: Path, deferral: str, why: str) -> None:
    found = guard(home, deferral=deferral, sample_rate="auto")
    assert found.pace.state() == {"rate": 0.01, "why": why, "since": None}


@needs_fork
def test_a_forked_child_serves_no_more_than_its_parent(home: Path, tier: Tier) -> None:
    break_promise(home, tier)
    found, serves = looked(home, tier, on_broken="defer")
    assert holds_in_child(os.fork, lambda: found.serves(tier) is serves)


def test_the_state_names_the_intents_that_are_not_watched(home: Path, tmp_path: Path) -> None:
    own = IntentCertificate(0.99, 0.01, 0.5, intent="account")
    tier = Tier(add_own_target(home, tmp_path / "own", own), Policy(target=0.9), None)
    write(DecisionLog(home / "decisions.db"), audited([True], time.time() - 100, "gone", tier.taxonomy.question_id()))
    assert looked(home, tier)[0].state()["not_watched"] == ["account"]
    alone = tier.limited(0.9)
    alone.classifier = tier.classifier.at(0.9, replace(tier.classifier.bundle.manifest, certificates=()))
    assert "nothing is accepted but account, which are not watched" in looked(home, alone)[0].state()["why"]
