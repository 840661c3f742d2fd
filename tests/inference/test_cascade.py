import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from inference import cascade as cascades
from inference.bundle import versions
from inference.bundle.manifest import BundleError, read_manifest, seal
from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Answer, Cascade, Router
from inference.log.decision_log import DecisionLog, TeacherAnswer
from inference.money.ledger import Ledger, SpendLimit
from inference.serving.deferral import MOST_WAITING
from inference.serving.policy import Policy
from inference.teachers.claude import AnthropicTeacher
from tests.fake_api import FakeAPI
from tests.services import postgres_server, redis_server
from training.lifecycle.versions import publish

NAMES = ("payments", "account", "unknown")
CLEAR = "send the invoice please"
GRACE_S = 0.3  # for a busy test machine


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_home, tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def taxonomy(tiny_data: Path) -> Taxonomy:
    return Taxonomy.load(tiny_data / "taxonomy.toml")


class Counting:
    """A teacher as a team has it: a function, which remembers what it was asked."""

    def __init__(self, answer: str = "account", wait_s: float = 0.0) -> None:
        self.answer, self.wait_s = answer, wait_s
        self.asked: list[str] = []

    def __call__(self, text: str) -> str:
        self.asked.append(text)
        time.sleep(self.wait_s)
        return self.answer


def tiered(home: Path, teacher: Any, **settings: Any) -> Cascade:
    return Cascade.load(home, teacher, **{"strategy": "tiered", "sample_rate": 0.0, **settings})


def answers_in(home: Path) -> list[TeacherAnswer]:
    log = DecisionLog(home / "decisions.db")
    return list(log.read_answers())


def test_a_certified_query_is_answered_by_the_student_and_then_from_the_cache(home: Path) -> None:
    teacher = Counting()
    with Cascade.load(home, teacher, target=0.9, sample_rate=0.0) as cascade:
        first, second = cascade.classify(CLEAR), cascade.classify(CLEAR)
    assert (first.intent, first.source, first.accepted, first.cached) == ("payments", "student", True, False)
    assert (second.intent, second.source, second.cached) == ("payments", "student", True)
    assert first.id != second.id
    assert first.bundle_id
    assert first.confidence == second.confidence
    assert not teacher.asked


def test_a_deferred_query_gets_the_teachers_answer_which_is_cached_and_kept(home: Path) -> None:
    teacher = Counting()
    with tiered(home, teacher) as cascade:
        first, second = cascade.classify("what now"), cascade.classify("what now")
    assert (first.intent, first.source, first.accepted, first.deferred) == ("account", "teacher", True, True)
    assert (second.intent, second.source, second.cached, second.deferred) == ("account", "teacher", True, False)
    assert teacher.asked == ["what now"]
    (kept,) = answers_in(home)
    assert (kept.text, kept.label, kept.request_id) == ("what now", "account", first.id)


def test_async_and_many_answer_as_one_does(home: Path) -> None:
    with tiered(home, Counting(wait_s=0.1)) as cascade:
        started = time.monotonic()
        many = cascade.classify_many([f"query {i}" for i in range(8)])
        assert time.monotonic() - started < 0.1 * 8
        assert {answer.source for answer in many} == {"teacher"}

        async def run() -> list[Answer]:
            return await asyncio.gather(*(cascade.aclassify(f"other {i}") for i in range(8)))

        assert [answer.intent for answer in asyncio.run(run())] == ["account"] * 8


def test_a_batch_of_any_size_is_answered_within_its_deadline(taxonomy: Taxonomy, tmp_path: Path) -> None:
    async def teach(text: str) -> str:
        await asyncio.sleep(0.0005)
        return "account"

    settings: dict[str, Any] = {"log": "none", "concurrency": 2, "deadline_s": 60.0, "day_zero_rate": 0.0}
    with Cascade.load(tmp_path, teach, taxonomy=taxonomy, **settings) as cascade:
        answers = cascade.classify_many([f"query {number}" for number in range(MOST_WAITING + 500)])
    assert {(answer.source, answer.reason) for answer in answers} == {("teacher", None)}


@pytest.mark.parametrize("mode", ["background", "never"])
def test_without_waiting_the_guess_is_marked_and_not_cached(home: Path, mode: str) -> None:
    teacher = Counting()
    with tiered(home, teacher, deferral=mode) as cascade:
        first = cascade.classify(CLEAR)
        assert (first.intent, first.source, first.accepted) == ("payments", "fallback", False)
        assert first.reason
        wait_for(lambda: mode == "never" or bool(cascade.classify(CLEAR).source == "teacher"))
        again = cascade.classify(CLEAR)
    assert again.source == ("teacher" if mode == "background" else "fallback")
    assert bool(teacher.asked) is (mode == "background")


def wait_for(ready: Callable[[], bool], within_s: float = 10.0) -> None:
    until = time.monotonic() + within_s
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_hundred_identical_queries_cost_one_call(home: Path) -> None:
    teacher = Counting(wait_s=0.3)
    with tiered(home, teacher, deadline_s=20.0) as cascade, ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(cascade.classify, ["the same"] * 100))
    assert {answer.intent for answer in answers} == {"account"}
    assert teacher.asked == ["the same"]


def test_a_late_answer_is_kept_for_the_next_caller(home: Path) -> None:
    with tiered(home, Counting(wait_s=0.4), deadline_s=0.1) as cascade:
        late = cascade.classify("slow")
        assert (late.source, late.accepted, late.deferred) == ("fallback", False, True)
        wait_for(lambda: cascade.classify("slow").source == "teacher")
    assert [answer.label for answer in answers_in(home)] == ["account"]


def test_teachers_in_order_share_the_deadline(home: Path) -> None:
    first, second = Counting("payments", wait_s=1.0), Counting("unknown")
    with tiered(home, [first, second], deadline_s=1.0) as cascade:
        answer = cascade.classify("who answers")
    assert (answer.intent, answer.source) == ("unknown", "teacher")
    assert sorted(str(kept.label) for kept in answers_in(home)) == ["payments", "unknown"]


FAULTS = [
    "429", "429-long", "429-spend", "500", "529", "hang", "dribble", "reset", "refusal", "wrong-label", "odd-json",
    "max_tokens",
]  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_of_the_teacher_gives_a_marked_answer_in_time(home: Path, taxonomy: Taxonomy, kind: str) -> None:
    with FakeAPI(fence="query", faults=lambda query, attempt: kind, hang_s=3) as api:
        teacher = AnthropicTeacher("claude-haiku-5-5", taxonomy, base_url=api.url, api_key="test-key")
        with tiered(home, teacher, deadline_s=0.5, call_limit_s=1.0) as cascade:
            started = time.monotonic()
            answer = cascade.classify(CLEAR)
            assert time.monotonic() - started < 0.5 + GRACE_S
            assert (answer.intent, answer.source, answer.accepted) == ("payments", "fallback", False)
            assert answer.reason
            assert not cascade.classify(CLEAR).cached


@pytest.mark.parametrize(
    ("url", "key"), [("http://127.0.0.1:9", "test-key"), ("http://no-such-host.invalid", "test-key"), (None, None)]
)
def test_no_network_no_name_and_no_key_give_a_marked_answer(
    home: Path, taxonomy: Taxonomy, monkeypatch: pytest.MonkeyPatch, url: str | None, key: str | None
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    teacher = AnthropicTeacher("claude-haiku-5-5", taxonomy, base_url=url, api_key=key)
    with tiered(home, teacher, deadline_s=1.0) as cascade:
        answer = cascade.classify(CLEAR)
    assert (answer.source, answer.intent) == ("fallback", "payments")
    assert answer.reason


def test_a_teacher_that_keeps_failing_is_left_alone(home: Path) -> None:
    calls: list[str] = []

    def broken(text: str) -> str:
        calls.append(text)
        raise RuntimeError("down")

    with tiered(home, broken) as cascade:
        answers = [cascade.classify(f"query {i}") for i in range(20)]
        assert list(cascade.stats()["breakers"].values()) == ["open"]
    assert {answer.source for answer in answers} == {"fallback"}
    assert len(calls) == 5
    assert "rests" in str(answers[-1].reason)


def test_nothing_is_asked_once_the_day_is_spent_or_the_ledger_is_gone(home: Path, taxonomy: Taxonomy) -> None:
    with FakeAPI(fence="query") as api:
        teacher = AnthropicTeacher("claude-haiku-5-5", taxonomy, base_url=api.url, api_key="test-key")
        with tiered(home, teacher, daily_usd=0.0) as cascade:
            assert "cap" in str(cascade.classify("one").reason)
        (home / "file").write_text("")
        with tiered(home, teacher, ledger=str(home / "file" / "spend.db"), stores="warn") as cascade:
            assert "ledger" in str(cascade.classify("two").reason)
        assert not api.attempts


def test_the_daily_cap_holds_across_four_processes(home: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from inference.cascade import Cascade; from inference.teachers.claude import AnthropicTeacher\n"
        "from inference.bundle.taxonomy import Taxonomy\n"
        "home, url, me = sys.argv[1:]\n"
        "names = ('payments', 'account', 'unknown')\n"
        "teacher = AnthropicTeacher('claude-haiku-5-5', Taxonomy.of(names), base_url=url, api_key='test-key')\n"
        "settings = dict(strategy='tiered', daily_usd=0.002, log='none', deadline_s=30.0)\n"
        "with Cascade.load(home, teacher, **settings) as cascade:\n"
        "    cascade.classify_many([f'{me} query {i}' for i in range(60)])\n"
    )
    with FakeAPI(fence="query") as api:
        workers = [subprocess.Popen([sys.executable, "-c", code, str(home), api.url, str(me)]) for me in range(4)]
        assert [worker.wait(timeout=120) for worker in workers] == [0] * 4
        assert 0 < api.charged_nano <= 0.002 * 1e9
        assert Ledger(home / "spend.db").spent().measured == api.charged_nano


def test_the_share_of_deferred_requests_is_capped(home: Path) -> None:
    teacher = Counting()
    with tiered(home, teacher, max_teacher_rate=0.1, deferral="background") as cascade:
        answers = [cascade.classify(f"query {i}") for i in range(300)]
    asked = sum(answer.deferred for answer in answers)
    assert 300 * 0.1 <= asked <= 300 * 0.1 + 20
    assert {answer.reason for answer in answers if not answer.deferred} == {"max_teacher_rate is reached"}
    assert not any(answer.accepted for answer in answers)


def test_day_zero_the_teacher_answers_until_the_first_bundle_takes_over(
    home: Path, tmp_path: Path, taxonomy: Taxonomy
) -> None:
    new = tmp_path / "new"
    teacher = Counting("account")
    with Cascade.load(new, teacher, taxonomy=taxonomy, sample_rate=0.0, day_zero_rate=0.0, target=0.9) as cascade:
        answer = cascade.classify(CLEAR)
        assert (answer.intent, answer.source, answer.bundle_id) == ("account", "teacher", None)
        shutil.copytree(home, new, dirs_exist_ok=True)
        wait_for(lambda: cascade.stats()["bundle_id"] is not None)
        assert cascade.classify("check the refund please").source == "student"
        assert cascade.classify(CLEAR).source == "teacher"  # its answer outlives the new bundle
    assert len(answers_in(new)) == 1


def test_day_zero_with_the_teacher_gone_has_no_intent_and_does_not_raise(tmp_path: Path, taxonomy: Taxonomy) -> None:
    def gone(text: str) -> str:
        raise ConnectionError("gone")

    with Cascade.load(tmp_path / "new", gone, taxonomy=taxonomy) as cascade:
        answer = cascade.classify(CLEAR)
    assert (answer.intent, answer.source, answer.accepted) == (None, "fallback", False)


def test_no_bundle_needs_a_taxonomy_and_a_teacher(tmp_path: Path, taxonomy: Taxonomy) -> None:
    with pytest.raises(BundleError, match="give a taxonomy"):
        Cascade.load(tmp_path / "new", Counting())
    with pytest.raises(ValueError, match="give a teacher"):
        Cascade.load(tmp_path / "new", taxonomy=taxonomy)


def test_a_running_cascade_takes_up_a_new_version_and_refuses_a_damaged_one(home: Path) -> None:
    with Cascade.load(home, target=0.9) as cascade:
        old = cascade.classify(CLEAR)
        version = (home / "current").read_text().strip()
        broken = home / "20990101T000000Z-deadbeef"
        shutil.copytree(home / version, broken)
        (broken / "model.onnx").write_bytes(b"junk")
        (home / "current").write_text(broken.name)
        wait_for(lambda: cascade.stats()["refused_bundle"] is not None)
        assert cascade.classify("check the refund please").bundle_id == old.bundle_id
        good = home / "20990102T000000Z-deadbeef"
        shutil.copytree(home / version, good)
        seal(good, replace(read_manifest(good), temperature=1.0))
        (home / "current").write_text(good.name)
        wait_for(lambda: cascade.stats()["bundle_id"] not in (None, old.bundle_id))
        new = cascade.classify(CLEAR)
        assert not new.cached  # a local answer does not outlive its bundle
        assert new.bundle_id != old.bundle_id


def test_feedback_is_recorded_and_checked(home: Path) -> None:
    with Cascade.load(home, target=0.9) as cascade:
        answer = cascade.classify(CLEAR)
        cascade.feedback(answer.id, "account")
        with pytest.raises(ValueError, match="'root' is not an intent"):
            cascade.feedback(answer.id, "root")
        with pytest.raises(KeyError, match="no longer remembered"):
            cascade.feedback("nobody", "account")
        cascade.feedback("nobody", "account", text="it is me")
    corrections = list(DecisionLog(home / "decisions.db").read_corrections())
    assert [(row.text, row.intent) for row in corrections] == [(CLEAR, "account"), ("it is me", "account")]


def test_what_is_private_appears_nowhere(home: Path, taxonomy: Taxonomy) -> None:
    secret = "card 4111 1111 1111 1111 mail jane.doe@example.com key sk-ant-api03-abcdefghij0123456789ABCD"
    with FakeAPI(fence="query") as api, redis_server() as server:
        teacher = AnthropicTeacher("claude-haiku-5-5", taxonomy, base_url=api.url, api_key="test-key")
        for rate in (1.0, 0.0):  # what is asked for the sample is in no cache
            with tiered(home, teacher, sample_rate=rate, redis=server.url) as cascade:
                cascade.feedback(cascade.classify(secret).id, "account")
                wait_for(lambda: rate == 1.0 or bool(everything_in(server.url)))  # noqa: B023
        seen = json.dumps(api.bodies) + everything_in(server.url)
    seen += "".join(file.read_bytes().decode("latin-1") for file in home.glob("decisions.db*"))
    assert "[card]" in seen
    for part in ("4111", "jane", "abcdefghij"):
        assert part not in seen


def everything_in(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return "".join(f"{key!r} {client.get(key)!r}\n" for key in client.scan_iter())


@pytest.mark.parametrize("value", [None, b"bytes", 3, ["list"]])
def test_a_wrong_argument_raises_at_once(home: Path, value: Any) -> None:
    with Cascade.load(home) as cascade, pytest.raises(TypeError, match="must be a str"):
        cascade.classify(value)
    with Cascade.load(home) as cascade, pytest.raises(TypeError, match="takes several texts"):
        cascade.classify_many("one text")


@pytest.mark.parametrize("text", ["", " " * 1000, "x" * 1_000_000, "\ud800", "\x00\x07", "مرحبا", "🦊" * 50])
def test_any_text_gets_an_answer(home: Path, text: str) -> None:
    with tiered(home, Counting()) as cascade:
        assert cascade.classify(text).intent == "account"


def without_digits(text: str) -> str:
    return "".join(letter for letter in text if not letter.isdigit())


def test_a_custom_redactor_is_named_by_the_application_never_imported_for_a_bundle(home: Path) -> None:
    version = home / str(versions.serving(home))
    seal(version, replace(read_manifest(version), redactor="tests.inference.test_cascade:without_digits"))
    with pytest.raises(BundleError, match="without_digits"):
        Cascade.load(home)
    teacher = Counting()
    named = Policy(redactor="tests.inference.test_cascade:without_digits")
    for settings in ({"redactor": without_digits}, {"policy": named}):
        with tiered(home, teacher, **settings) as cascade:
            assert cascade.classify(f"order 123 {len(teacher.asked)}").source == "teacher"
    assert not any(letter.isdigit() for text in teacher.asked for letter in text)


def test_a_redactor_that_fails_keeps_the_query_here(home: Path) -> None:
    def broken(text: str) -> str:
        raise RuntimeError("no")

    teacher = Counting()
    with Cascade.load(home, teacher, redactor=broken, sample_rate=1.0) as cascade:
        answer = cascade.classify(CLEAR)
    assert (answer.source, answer.intent) == ("fallback", None)
    assert not teacher.asked
    assert not list(DecisionLog(home / "decisions.db").read_decisions())


def test_a_log_that_cannot_be_written_stops_paid_answers_and_nothing_else(home: Path, tmp_path: Path) -> None:
    teacher = Counting()
    (tmp_path / "file").write_text("")
    shutil.rmtree(home / "spill", ignore_errors=True)
    (home / "spill").write_text("")  # so that the spill folder cannot be made either
    with tiered(home, teacher, log=str(tmp_path / "file" / "log.db"), stores="warn") as cascade:
        assert cascade.log is not None
        log = cascade.log
        wait_for(lambda: not log.healthy)
        answer = cascade.classify(CLEAR)
        assert (answer.source, answer.intent) == ("fallback", "payments")
        assert "log" in str(answer.reason)
    assert not teacher.asked


def test_a_locked_log_delays_nobody_and_loses_nothing(home: Path) -> None:
    with tiered(home, Counting()) as cascade:
        cascade.classify("first")
        holder = sqlite3.connect(home / "decisions.db")
        holder.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        answer = cascade.classify("second")
        assert time.monotonic() - started < 2.0 + GRACE_S
        assert answer.intent in NAMES
        holder.rollback()
        holder.close()
    assert {row.text for row in answers_in(home)} == {"first", "second"}


def test_redis_is_shared_and_its_loss_costs_milliseconds(home: Path) -> None:
    with redis_server() as server:
        settings = {"redis": server.url, "redis_timeout_ms": 1000.0}
        store, second = redis.Redis.from_url(server.url), Counting("unknown")
        with tiered(home, Counting(), **settings) as one, tiered(home, second, **settings) as two, store:
            assert one.classify("shared").source == "teacher"
            wait_for(lambda: store.dbsize() > 0)
            assert two.classify("shared").cached
            assert not second.asked
            server.stop(signal.SIGKILL)
            started = time.monotonic()
            assert two.classify("shared").cached  # from memory
            assert two.classify("something new").intent == "unknown"
            assert time.monotonic() - started < 1.0


def test_the_log_and_the_ledger_may_live_in_postgresql(home: Path) -> None:
    with postgres_server() as server:
        plain = server.url
        with tiered(home, Counting(), log=plain, ledger=plain, daily_usd=1.0) as cascade:
            assert cascade.classify("kept far away").source == "teacher"
        assert [row.text for row in DecisionLog(plain).read_answers()] == ["kept far away"]
        ledger = Ledger(plain, cap_usd=1e-9)
        reservation = ledger.reserve(1)
        with pytest.raises(SpendLimit):
            ledger.reserve(1)
        ledger.settle(reservation, 1)
        assert ledger.spent().measured == 1
        ledger.close()
        server.stop(signal.SIGKILL)
        with tiered(home, Counting(), log=plain, ledger=plain, deadline_s=1.0, stores="warn") as cascade:
            assert cascade.classify("server gone").intent in NAMES


def test_an_answer_under_way_when_the_process_ends_is_kept(home: Path) -> None:
    code = (
        "import sys, threading, time; from inference.cascade import Cascade\n"
        "asked = threading.Event()\n"
        "def slow(text):\n    asked.set()\n    time.sleep(1.0)\n    return 'account'\n"
        "cascade = Cascade.load(sys.argv[1], slow, strategy='tiered', deferral='background')\n"
        "cascade.classify('paid for')\n"
        "assert asked.wait(30)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(home)], check=True, timeout=60)
    assert [row.label for row in answers_in(home)] == ["account"]


def test_a_pile_of_slow_calls_pays_for_no_query_twice(home: Path) -> None:
    teacher = Counting(wait_s=0.2)
    with tiered(home, teacher, concurrency=1, deferral="background") as cascade:
        for _ in range(3):
            cascade.classify_many([f"query {number}" for number in range(5)])
        wait_for(lambda: len(answers_in(home)) == 5)
    assert sorted(teacher.asked) == [f"query {number}" for number in range(5)]


def test_callers_that_wait_when_it_is_closed_get_the_marked_guess(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascades, "CLOSING_S", 0.1)
    teacher = Counting(wait_s=2.0)
    cascade = tiered(home, teacher, deadline_s=5.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cascade.classify, "still waiting")
        wait_for(lambda: bool(teacher.asked))
        cascade.close()
        answer = waiting.result(timeout=10)
    assert (answer.source, answer.accepted) == ("fallback", False)


def test_a_bundle_with_other_intents_than_the_teachers_know_is_not_taken_up(home: Path, tmp_path: Path) -> None:
    other = Taxonomy.of(["account", "elsewhere"])
    with Cascade.load(tmp_path / "new", Counting(), taxonomy=other) as cascade:
        assert cascade.classify("before").source == "teacher"
        shutil.copytree(home, tmp_path / "new", dirs_exist_ok=True)
        wait_for(lambda: cascade.stats()["refused_bundle"] is not None)
        assert "other intents" in cascade.stats()["refused_bundle"]
        assert cascade.classify(CLEAR).source == "teacher"


def test_a_pinned_version_keeps_its_books_beside_the_versions(home: Path) -> None:
    version = home / str(versions.serving(home))
    with tiered(version, Counting()) as cascade:
        cascade.classify("where is the log")
    assert len(answers_in(home)) == 1


def test_handlers_are_chosen_by_accepted_intent(home: Path) -> None:
    route = Router({"payments": lambda answer: "pay"}, default=lambda answer: "human")
    with Cascade.load(home, target=0.9) as cascade:
        assert route(cascade.classify(CLEAR)) == "pay"
    with tiered(home, ()) as cascade:
        assert route(cascade.classify(CLEAR)) == "human"


def test_usable_in_a_forked_child(home: Path) -> None:
    code = (
        "import os, sys, warnings; from inference.cascade import Cascade\n"
        "warnings.simplefilter('ignore')\n"
        "cascade = Cascade.load(sys.argv[1], lambda text: 'account', strategy='tiered', deadline_s=10.0)\n"
        "assert cascade.classify('in the parent').source == 'teacher'\n"
        "pid = os.fork()\n"
        "answer = cascade.classify(f'after the fork {pid == 0}')\n"
        "cascade.close()\n"
        "if pid == 0: os._exit(0 if answer.source == 'teacher' else 7)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert answer.source == 'teacher'\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(answers_in(home)) == 3


def test_importing_the_cascade_imports_no_sdk_and_no_training() -> None:
    code = (
        "import sys, inference.cascade\n"
        "heavy = ('torch', 'transformers', 'anthropic', 'openai', 'redis', 'sqlalchemy', 'training')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_under_load_every_answer_that_was_paid_for_is_kept(home: Path) -> None:
    run_load(home, seconds=1.0)


@pytest.mark.soak
def test_memory_stays_flat_over_a_minute_of_load(home: Path) -> None:
    sizes = run_load(home, seconds=60.0)
    middle, end = sizes[len(sizes) // 2], sizes[-2]
    assert end < middle * 1.05 + 4_000_000


def run_load(home: Path, seconds: float) -> list[int]:
    """8 threads and 200 tasks over a Zipf mix, a teacher that fails now and then; the process's bytes on the way."""
    paid: list[str] = []
    lock, dice = threading.Lock(), random.Random(0)

    async def teacher(text: str) -> str:
        await asyncio.sleep(0.01)
        if dice.random() < 0.1:
            raise RuntimeError("now and then")
        with lock:
            paid.append(text)
        return dice.choice(NAMES)

    texts = [f"query number {i}" for i in range(20_000)]
    weights = [1 / (rank + 1) for rank in range(len(texts))]
    until = time.monotonic() + seconds
    sizes: list[int] = []

    def in_thread(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            answer = cascade.classify(rng.choices(texts, weights)[0])
            assert answer.intent in NAMES

    async def in_tasks() -> None:
        async def one(seed: int) -> None:
            rng = random.Random(1000 + seed)
            while time.monotonic() < until:
                answer = await cascade.aclassify(rng.choices(texts, weights)[0])
                assert answer.intent in NAMES
                await asyncio.sleep(0.05)

        await asyncio.gather(*(one(seed) for seed in range(200)))

    settings = {"cache_size": 2000, "sample_rate": 0.01, "deadline_s": 10.0}
    with tiered(home, teacher, **settings) as cascade, ThreadPoolExecutor(9) as pool:
        work = [pool.submit(in_thread, seed) for seed in range(8)] + [pool.submit(asyncio.run, in_tasks())]
        while not all(item.done() for item in work):
            time.sleep(seconds / 20)
            sizes.append(resident_bytes())
        for item in work:
            item.result()
    kept = [row.text for row in answers_in(home) if row.label is not None]
    assert sorted(kept) == sorted(paid)
    return sizes


@pytest.mark.soak
def test_ten_publishes_and_three_rollbacks_under_load(home: Path) -> None:
    first = versions.serving(home)
    assert first is not None
    published = {read_manifest(home / first).bundle_id}
    seen: set[str | None] = set()
    done = threading.Event()

    def classify(worker: int) -> None:
        number = 0
        while not done.is_set():
            number += 1
            answer = cascade.classify(f"{CLEAR} {worker} {number}")
            assert answer.intent in NAMES
            seen.add(answer.bundle_id)

    with Cascade.load(home, target=0.9, log="none") as cascade, ThreadPoolExecutor(4) as pool:
        cascade._watch.every_s = 0.05
        work = [pool.submit(classify, worker) for worker in range(4)]
        time.sleep(0.5)
        before = resident_bytes()
        for number in range(10):
            draft = home / ".runs" / "draft"
            shutil.copytree(home / first, draft)
            (draft / "manifest.json").unlink()
            manifest = replace(read_manifest(home / first), temperature=1.5 + number / 10, files={})
            target = publish(draft, manifest, home)
            published.add(read_manifest(target).bundle_id)
            expected = read_manifest(target).bundle_id
            wait_for(lambda: cascade.stats()["bundle_id"] == expected)  # noqa: B023
        for _ in range(3):
            back = read_manifest(home / versions.rollback(home)).bundle_id
            wait_for(lambda: cascade.stats()["bundle_id"] == back)  # noqa: B023
        time.sleep(0.3)
        grown = resident_bytes() - before
        done.set()
        for item in work:
            item.result()
        assert cascade.stats()["refused_bundle"] is None
    assert seen <= published
    assert len(seen) >= 10
    one_bundle = sum(path.stat().st_size for path in (home / first).rglob("*") if path.is_file())
    assert grown < 4 * one_bundle + 40_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ANTHROPIC_")]:
        monkeypatch.delenv(name)
