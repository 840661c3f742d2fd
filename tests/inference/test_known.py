import asyncio
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.bundle.manifest import read_manifest, resolve, seal
from inference.bundle.redact import HALF, READ, WORD, beginning, of_the_beginning, redact
from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.money.ledger import Ledger
from inference.teachers.own import FunctionTeacher
from tests.logged import wait_until
from tests.services import redis_server

CLEAR = "send the invoice please"
PRIVATE = "please write to {} about it"
ADDRESSES = ("jane@example.com", "john@example.org")


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_home, tmp_path / "tiny")


class Teacher:
    """Remembers what it was asked; waits for `go` where there is one."""

    def __init__(
        self, answer: Callable[[str], Any] = lambda text: "account", go: threading.Event | None = None
    ) -> None:
        self.answer, self.go, self.asked = answer, go, list[str]()

    def __call__(self, text: str) -> Any:
        self.asked.append(text)
        if self.go is not None:
            self.go.wait(30)
        return self.answer(text)


def tiered(home: Path, teacher: Any, **settings: Any) -> Cascade:
    return Cascade.load(home, teacher, **{"strategy": "tiered", "sample_rate": 0.0, "deadline_s": 20.0, **settings})


# One key for one text


@pytest.mark.parametrize("mode", ["wait", "background"])
def test_a_text_that_redaction_changes_is_asked_once_whoever_it_names(home: Path, mode: str) -> None:
    teacher = Teacher()
    with tiered(home, teacher, deferral=mode) as cascade:
        cascade.classify(PRIVATE.format(ADDRESSES[0]))
        wait_until(lambda: cascade.classify(PRIVATE.format(ADDRESSES[0])).cached)
        again = [cascade.classify(PRIVATE.format(address)) for address in (*ADDRESSES, *ADDRESSES)]
    assert [(answer.source, answer.cached) for answer in again] == [("teacher", True)] * 4
    assert teacher.asked == [PRIVATE.format("[email]")]


def test_a_late_answer_to_a_text_that_redaction_changes_serves_the_next_caller(home: Path) -> None:
    teacher = Teacher(go=threading.Event())
    with tiered(home, teacher, deadline_s=0.05) as cascade:
        assert cascade.classify(PRIVATE.format(ADDRESSES[0])).source == "fallback"
        teacher.go.set()
        wait_until(lambda: cascade.classify(PRIVATE.format(ADDRESSES[0])).cached)
    assert len(teacher.asked) == 1


@pytest.mark.parametrize(
    "text",
    [
        "我被重复收费了，请退款。" * 3000,
        "i\xa0was\xa0charged\xa0twice\n" * 2000,
        "refund " + "x" * 40_000,
        "x" * 40_000,
        " " * 40_000 + "i was charged twice",
        "refund\n" * 9000,
    ],
)
def test_a_long_text_is_never_cut_to_nothing(home: Path, text: str) -> None:
    teacher = Teacher()
    with tiered(home, teacher) as cascade:
        assert cascade.classify(text).source == "teacher"
        assert cascade.classify(text).cached
        cascade.feedback(cascade.classify(text).id, "payments")
        assert cascade.classify(text).source == "human"
    (asked,) = teacher.asked
    assert asked.strip()[:5] == " ".join(text.split())[:5]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", " ", "\n", "\u3000", "款", "9", "-"]) | st.characters(), min_size=1), st.data())
def test_what_is_read_of_any_text_is_a_beginning_of_it(parts: list[str], data: st.DataObject) -> None:
    unit = "".join(parts)
    text = (unit * (data.draw(st.integers(READ - 9, 2 * READ)) // len(unit) + 1))[: 2 * READ]
    whole = " ".join(text.split())
    read = of_the_beginning(str)(text)
    assert len(read) <= READ
    assert text.startswith(read) or whole.startswith(read)
    assert len(read) >= min(len(whole), READ - WORD - HALF)
    assert of_the_beginning(str)(beginning(text)) == read


CARD, IBAN, KEY = "4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32", "sk-ant-api03-aB3" + "x9Y" * 20
SECRETS = st.sampled_from([CARD, IBAN, KEY, "jane.doe@example.com"])


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([CARD, IBAN, KEY, "jane.doe@example.com"]),
    st.integers(0, 150),
    st.sampled_from(["款", "ab, ", "ab "]),
)
def test_no_half_of_a_secret_is_read(secret: str, before_the_cut: int, unit: str) -> None:
    before = (unit * READ)[: READ - before_the_cut - 1]
    seen = of_the_beginning(redact)(f"{before} {secret} {unit * WORD}")
    assert not any(part in seen for part in (secret[:4], secret[-4:], secret[5:9]))


# What is refused


@pytest.mark.parametrize("mode", ["wait", "background"])
def test_a_refusal_is_not_asked_again_and_its_price_is_in_the_answer(home: Path, mode: str) -> None:
    teacher = Teacher(lambda text: "no intent of yours")
    names = Taxonomy.load(resolve(home) / "taxonomy.toml")
    with tiered(home, FunctionTeacher(teacher, names, usd=0.01), deferral=mode) as cascade:
        first = cascade.classify("what now")
        wait_until(lambda: cascade._deferral.refused("what now"))
        again = [cascade.classify("what now") for _ in range(5)]
    assert teacher.asked == ["what now"]
    assert first.cost_usd == (0.01 if mode == "wait" else 0.0)
    assert {(answer.deferred, answer.cost_usd) for answer in again} == {(False, 0.0)}
    assert "not an intent" in str(again[0].reason)
    assert "asked before" in str(again[0].reason)
    assert Ledger(home / "spend.db").spent().measured == 10_000_000


def test_where_refusals_are_not_to_be_remembered_they_are_asked_again(home: Path) -> None:
    teacher = Teacher(lambda text: "no intent of yours")
    with tiered(home, teacher, refusal_ttl_s=0.0) as cascade:
        for _ in range(3):
            cascade.classify("what now")
    assert len(teacher.asked) == 3


# What a person says


def test_a_correction_displaces_what_is_cached_for_every_form_of_the_text(home: Path) -> None:
    with tiered(home, Teacher()) as cascade:
        answers = [cascade.classify(PRIVATE.format(address)) for address in ADDRESSES]
        cascade.feedback(answers[0].id, "payments")
        for text in (*map(PRIVATE.format, ADDRESSES), "  " + PRIVATE.format("joe@example.net")):
            answer = cascade.classify(text)
            assert (answer.intent, answer.source, answer.cached, answer.accepted) == ("payments", "human", True, True)


def test_a_correction_displaces_the_students_answer_until_a_bundle_was_trained_on_it(home: Path) -> None:
    with Cascade.load(home, target=0.9, sample_rate=0.0) as cascade:
        answer = cascade.classify(CLEAR)
        assert answer.source == "student"
        cascade.feedback(answer.id, "account")
        assert cascade.classify(CLEAR).intent == "account"
        publish(home, "20990101T000000Z-deadbeef", live_until=1.0)  # not trained on it
        wait_until(lambda: cascade.stats()["bundle_id"] != answer.bundle_id)
        assert cascade.classify(CLEAR).source == "human"
        before = cascade.stats()["bundle_id"]
        publish(home, "20990102T000000Z-deadbeef", live_until=time.time() + 1)
        wait_until(lambda: cascade.stats()["bundle_id"] != before)
        assert cascade.classify(CLEAR).source == "student"
        assert cascade.classify(CLEAR).cached


def publish(home: Path, name: str, live_until: float) -> None:
    folder = shutil.copytree(resolve(home), home / name)
    manifest = read_manifest(folder)
    lineage = {**manifest.lineage, "live_until": live_until}
    seal(folder, replace(manifest, temperature=manifest.temperature * 1.0001, lineage=lineage))
    (home / "current").write_text(name)


def test_a_teachers_answer_that_comes_after_a_correction_does_not_displace_it(home: Path) -> None:
    teacher = Teacher(go=threading.Event())
    with tiered(home, teacher, deferral="background") as cascade:
        cascade.feedback(cascade.classify("what now").id, "payments")
        teacher.go.set()
        wait_until(lambda: not cascade._deferral._booking)
        assert cascade.classify("what now").source == "human"


def test_a_correction_reaches_other_processes_through_redis(home: Path, tmp_path: Path) -> None:
    late = Teacher(go=threading.Event())
    other = shutil.copytree(home, tmp_path / "other")
    shared: dict[str, Any] = {"deferral": "background"}
    with redis_server() as server:
        here = tiered(home, Teacher(), redis=server.url, **shared)
        there = tiered(other, late, redis=server.url, **shared)
        with here as one, there as two:
            two.classify("what now")
            wait_until(lambda: late.asked)
            wait_until(lambda: one._cache.redis.up and two._cache.redis.up)
            one.feedback("an id", "payments", text="what now")
            late.go.set()
            wait_until(lambda: not two._deferral._booking)
            assert {two.classify("what now").source for _ in range(3)} == {"human"}
        with tiered(other, Teacher(), redis=server.url) as third:
            wait_until(lambda: third._cache.redis.up)
            assert (third.classify("what now").intent, third.classify("what  now").source) == ("payments", "human")


# What fails


def test_a_model_that_fails_at_run_time_asks_the_teacher_and_else_says_why(home: Path) -> None:
    for teachers, source in (([Teacher()], "teacher"), ([], "fallback")):
        with Cascade.load(home, teachers, sample_rate=0.0) as cascade:
            cascade._watch.tier.classifier._engine = Broken()
            answer = cascade.classify(CLEAR)
        assert answer.source == source
        assert teachers or answer.reason == "the local model failed (RuntimeError); there is no teacher"


class Broken:
    def ids(self, text: str) -> Any:
        raise RuntimeError("out of memory")


def test_a_redactor_that_fails_keeps_the_text_here(home: Path) -> None:
    def broken(text: str) -> str:
        raise RuntimeError(text)

    teacher = Teacher()
    with Cascade.load(home, teacher, redactor=broken, sample_rate=0.0) as cascade:
        answer = cascade.classify(CLEAR)
    assert (answer.source, answer.reason, teacher.asked) == ("fallback", "it could not be redacted", [])


def test_a_cache_that_fails_is_a_miss(home: Path) -> None:
    teacher = Teacher()
    with tiered(home, teacher) as cascade:
        cascade._known._redis = Broken()
        assert cascade.classify("what now").source == "teacher"
        assert cascade.stats()["answers"]["cache failed: AttributeError"]


@pytest.mark.parametrize("wrong", [None, 3, b"bytes"])
def test_all_texts_of_a_batch_are_checked_before_any_is_asked(home: Path, wrong: Any) -> None:
    teacher = Teacher()
    with tiered(home, teacher) as cascade, pytest.raises(TypeError, match="must be a str"):
        cascade.classify_many(["a", "b", wrong])
    assert teacher.asked == []


def test_others_run_between_two_texts_on_an_event_loop(home: Path) -> None:
    """Of 30 tasks none reads a second text, nor do two read one each, while the loop has had no round."""
    rounds, reads = [0], list[int]()

    async def run(cascade: Cascade) -> None:
        done = asyncio.Event()

        async def spin() -> None:
            while not done.is_set():
                rounds[0] += 1
                await asyncio.sleep(0)

        spinning = asyncio.create_task(spin())
        await asyncio.gather(*(cascade.aclassify(f"text {number}") for number in range(30)))
        done.set()
        await spinning

    def reader(text: str) -> str:
        reads.append(rounds[0])
        return text

    with Cascade.load(home, redactor=reader, sample_rate=0.0, cache_size=0, log="none") as cascade:
        reads.clear()
        asyncio.run(run(cascade))
    firsts = sorted(set(reads))
    assert len(firsts) == 30
