import collections
import contextlib
import itertools
import logging
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Answer, Cascade
from inference.log.decision_log import Decision, DecisionLog
from inference.log.limits import Limits
from inference.serving.policy import Policy
from inference.serving.sample import Draw, Sampler, shared_secret
from inference.teachers.own import FunctionTeacher
from tests.logged import locked, wait_until
from tests.services import fresh_database, postgres_url, redis_url

SECRET = bytes(range(32))
CLEAR = "send the invoice please"
NAMES = ("payments", "account", "unknown")
TEXTS = st.text(st.characters(), max_size=20)  # lone surrogates included


def sampler(secret: bytes = SECRET, **settings: Any) -> Sampler:
    return Sampler(Policy(**settings), secret)


# The draw.


@given(text=TEXTS, caller_id=TEXTS, serving=st.booleans())
def test_a_retry_draws_the_same_number_under_a_row_id_of_its_own(text: str, caller_id: str, serving: bool) -> None:
    first, again = (sampler().draw(text, caller_id, serving) for _ in range(2))
    assert first.number == again.number
    assert 0 <= first.number < 1
    assert first.row_id != again.row_id


@given(one=st.tuples(TEXTS, TEXTS), other=st.tuples(TEXTS, TEXTS))
def test_another_id_or_another_text_or_another_secret_draws_anew(one: tuple[str, str], other: tuple[str, str]) -> None:
    drawn = sampler().draw(*one, True).number
    assert (drawn == sampler().draw(*other, True).number) == (one == other)
    assert drawn != sampler(b"another").draw(*one, True).number


@pytest.mark.parametrize("caller_id", [None, "one conversation"])
def test_numbers_are_uniform_and_tell_nothing_of_the_next(caller_id: str | None) -> None:
    draws = sampler()
    numbers = [draws.draw(f"text {i}", caller_id, True).number for i in range(20_000)]
    tenths = collections.Counter(int(10 * number) for number in numbers)
    assert set(tenths) == set(range(10))
    assert all(abs(n - 2000) < 6 * 43 for n in tenths.values())  # six standard deviations
    pairs = sum(a < 0.5 and b < 0.5 for a, b in itertools.pairwise(numbers))
    assert abs(pairs - 5000) < 6 * 90
    assert len(set(numbers)) == len(numbers)


@given(rate=st.floats(0, 1), other=st.floats(0, 1), text=TEXTS, serving=st.booleans())
def test_the_rate_is_the_epochs_and_never_depends_on_the_text(
    rate: float, other: float, text: str, serving: bool
) -> None:
    rates = {"sample_rate": rate, "day_zero_rate": other} if serving else {"sample_rate": other, "day_zero_rate": rate}
    drawn = sampler(**rates).draw(text, "id", serving)
    assert drawn.rate == rate
    assert drawn.epoch == (f"serving {rate:g}" if serving else f"day zero {rate:g}")
    assert drawn.sampled == (drawn.number < rate)


@given(text=TEXTS, caller_id=st.none() | TEXTS)
def test_a_rate_that_changes_holds_from_the_next_request_on_and_changes_no_number(
    text: str, caller_id: str | None
) -> None:
    draws = sampler(sample_rate="auto")
    before = draws.draw(text, caller_id, True)
    assert (before.rate, before.epoch) == (0.01, "auto 0.01")
    draws.serve_at(0.3, "auto 0.3 since 7")
    after = draws.draw(text, caller_id, True)
    assert (after.rate, after.epoch) == (0.3, "auto 0.3 since 7")
    assert (before.number == after.number) == (caller_id is not None)
    assert draws.draw(text, caller_id, False).epoch == "day zero 0.45"


def test_a_rate_of_one_samples_all_and_of_zero_none() -> None:
    assert Draw("row", 1 - 2**-53, 1.0, "").sampled
    assert not Draw("row", 0.0, 0.0, "").sampled


# The secret.


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "deeper" / "log.db")
        return
    with postgres_url() as server, fresh_database(server) as fresh:
        yield fresh


DRAWS = """
import sys
from inference.log import DecisionLog
from inference.serving.policy import Policy
from inference.serving.sample import Sampler, shared_secret
log = DecisionLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(Sampler(Policy(), shared_secret(log)).draw("a text", "an id", True).number)
"""


def test_processes_that_make_a_log_at_once_draw_the_same(url: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen([sys.executable, "-c", DRAWS, url], text=True, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    numbers = {float(process.communicate(timeout=60)[0]) for process in processes}
    numbers.add(Sampler(Policy(), shared_secret(DecisionLog(url))).draw("a text", "an id", True).number)
    assert len(numbers) == 1


def test_two_logs_have_two_secrets_and_each_keeps_its_own(tmp_path: Path) -> None:
    logs = [DecisionLog(tmp_path / name) for name in ("a.db", "b.db")]
    first = [shared_secret(log) for log in logs]
    assert len(set(first)) == 2
    assert min(map(len, first)) == 32
    logs[0].purge(0)
    assert [shared_secret(log) for log in logs] == first


def test_a_log_out_of_reach_gives_a_secret_of_this_process_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    log = DecisionLog(tmp_path / "file" / "log.db")
    with caplog.at_level(logging.WARNING, "monoku"):
        assert shared_secret(log) != shared_secret(log)
    assert "log.db" in caplog.text
    assert shared_secret(None) != shared_secret(None)


def test_a_locked_log_still_tells_its_secret(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = DecisionLog(path, limits=Limits(locked_s=0.1))
    secret = shared_secret(log)
    with locked(path):
        assert shared_secret(log) == secret


# The sample in a cascade.


@pytest.fixture
def home(tiny_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_home, tmp_path / "tiny"))


@pytest.fixture
def taxonomy(tiny_data: Path) -> Taxonomy:
    return Taxonomy.load(tiny_data / "taxonomy.toml")


class Moody:
    """A teacher that answers at random, and remembers what it said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self._lock, self._dice = threading.Lock(), random.Random(0)

    def __call__(self, text: str) -> str:
        with self._lock:
            self.said.append((text, self._dice.choice(NAMES)))
            return self.said[-1][1]


def in_log(home: Path) -> tuple[list[Decision], dict[str, list[str | None]]]:
    """The decisions, and the sample's answers by row id."""
    log = DecisionLog(home / "decisions.db")
    labels: dict[str, list[str | None]] = collections.defaultdict(list)
    for row in log.read_answers():
        if row.sampled:
            labels[row.request_id].append(row.label)
    return list(log.read_decisions()), labels


@contextlib.contextmanager
def day_zero(home: Path, taxonomy: Taxonomy, teacher: Any, **settings: Any) -> Iterator[tuple[Cascade, Path]]:
    new = home.parent / "new"
    with Cascade.load(new, teacher, taxonomy=taxonomy, **settings) as cascade:
        yield cascade, new


@contextlib.contextmanager
def serving(home: Path, taxonomy: Taxonomy, teacher: Any, **settings: Any) -> Iterator[tuple[Cascade, Path]]:
    rate = settings.pop("day_zero_rate")
    with Cascade.load(home, teacher, strategy="tiered", sample_rate=rate, **settings) as cascade:
        yield cascade, home


@pytest.mark.parametrize("start", [day_zero, serving])
def test_requests_of_the_sample_have_answers_of_their_own_which_serve_nobody_else(
    home: Path, taxonomy: Taxonomy, start: Callable[..., Any]
) -> None:
    teacher, dice = Moody(), random.Random(1)
    texts = [f"mail jane{i}@example.com about order {i}" for i in range(12)]  # redacted, a text is another one
    stream = dice.choices(texts, [1 / (rank + 1) for rank in range(len(texts))], k=300)
    with start(home, taxonomy, teacher, day_zero_rate=0.5) as (cascade, place):
        answers = [cascade.classify(text) for text in stream]
    decisions, labels = in_log(place)
    sampled = {row.id: row for row in decisions if row.sampled}
    assert 100 < len(sampled) < 200
    assert labels.keys() == sampled.keys()
    assert {len(given) for given in labels.values()} == {1}
    told = collections.defaultdict(set)
    for text, answer in zip(stream, answers, strict=True):
        if answer.id not in sampled:
            told[text].add(answer.intent)
    assert len(teacher.said) == len(sampled) + len(told)  # the others of a text share one call
    assert {len(intents) for intents in told.values()} == {1}
    check_independent(sampled, labels)


def check_independent(sampled: dict[str, Decision], labels: dict[str, list[str | None]]) -> None:
    """Two answers to one text agree as often as two answers of this teacher do, a third of the time."""
    by_text = collections.defaultdict(list)
    for row in sampled.values():
        by_text[row.text].append(labels[row.id][0])
    pairs = [a == b for given in by_text.values() for a, b in itertools.pairwise(given)]
    assert len(pairs) > 80
    assert sum(pairs) / len(pairs) < 0.55


def test_a_caller_of_the_sample_who_must_wait_is_told_the_sampled_answer(home: Path) -> None:
    with Cascade.load(home, Moody(), strategy="tiered", sample_rate=1.0) as cascade:
        answers = [cascade.classify("the same") for _ in range(20)]
    _, labels = in_log(home)
    assert {answer.id: [answer.intent] for answer in answers} == labels
    assert len({answer.intent for answer in answers}) > 1


def test_answers_for_the_sample_are_not_put_into_redis(home: Path) -> None:
    with redis_url() as url, redis.Redis.from_url(url) as client:
        before = set(client.scan_iter("monoku:*"))
        teacher = Moody()
        with Cascade.load(home, teacher, strategy="tiered", sample_rate=1.0, redis=url) as cascade:
            wait_until(lambda: cascade.stats()["redis"]["up"])
            for text in ("plain", "mail me@example.com"):
                cascade.classify(text)
            assert set(client.scan_iter("monoku:*")) == before
        with Cascade.load(home, teacher, strategy="tiered", sample_rate=0.0, redis=url) as cascade:
            wait_until(lambda: cascade.stats()["redis"]["up"])
            cascade.classify("plain")
            wait_until(lambda: set(client.scan_iter("monoku:*")) > before)
    assert [text for text, _ in teacher.said] == ["plain", "mail [email]", "plain"]


@pytest.mark.parametrize(
    ("settings", "sources", "asked"),
    [
        ({}, {"student"}, True),
        ({"deferral": "background"}, {"student"}, True),
        ({"strategy": "tiered", "deferral": "background"}, {"fallback"}, True),
        ({"deferral": "never"}, {"student"}, False),
        ({"strategy": "tiered", "deferral": "never"}, {"fallback"}, False),
        ({"strategy": "hybrid", "max_teacher_rate": 0.0}, {"teacher"}, True),
    ],
)
def test_the_sample_is_logged_and_asked_about_whatever_the_policy_decides_but_never(
    home: Path, settings: dict[str, Any], sources: set[str], asked: bool
) -> None:
    teacher = Moody()
    with Cascade.load(home, teacher, target=0.9, sample_rate=1.0, **settings) as cascade:
        answers = [cascade.classify(CLEAR) for _ in range(30)]
    decisions, labels = in_log(home)
    assert {answer.source for answer in answers} == sources
    assert {row.id for row in decisions} == {answer.id for answer in answers}
    assert {(row.sampled, row.rate, row.epoch) for row in decisions} == {(True, 1.0, "serving 1")}
    assert [len(given) for given in labels.values()] == [1] * (30 if asked else 0)
    assert len(teacher.said) == (30 if asked else 0)


def test_without_a_teacher_the_sample_is_logged(home: Path) -> None:
    with Cascade.load(home, target=0.9, sample_rate=1.0) as cascade:
        answers = [cascade.classify(CLEAR) for _ in range(3)]
    decisions, _ = in_log(home)
    assert [answer.cached for answer in answers] == [False, True, True]
    assert sorted(row.cached for row in decisions) == [False, True, True]
    assert {(row.sampled, row.prompt_id) for row in decisions} == {(True, "")}


def test_rows_say_what_was_drawn_and_what_was_asked(home: Path, taxonomy: Taxonomy) -> None:
    teacher = FunctionTeacher(Moody(), taxonomy)
    with Cascade.load(home, teacher, strategy="tiered", sample_rate=0.25) as cascade:
        first, second = (cascade.classify(text, id="a conversation") for text in ("one", "two"))
        cascade.classify("three")
        cascade.classify("one", id="a conversation")
    assert {first.id, second.id} == {"a conversation"}
    log = DecisionLog(home / "decisions.db")
    by_text = collections.defaultdict(list)
    for row in log.read_decisions():
        by_text[row.text].append(row)
        assert row.sampled == (row.number is not None and row.rate is not None and row.number < row.rate)
        assert (row.rate, row.epoch, row.prompt_id) == (0.25, "serving 0.25", teacher.prompt_id)
        assert row.question_id == taxonomy.question_id()
    assert {row.caller_id for text in ("one", "two") for row in by_text[text]} == {"a conversation"}
    assert [row.caller_id for row in by_text["three"]] == [None]
    assert len({row.number for row in by_text["one"]}) == 1
    assert by_text["one"][0].number != by_text["two"][0].number
    ids = {row.id for rows in by_text.values() for row in rows}
    assert {row.request_id for row in log.read_answers()} <= ids
    assert {row.question_id for row in log.read_answers()} == {taxonomy.question_id()}


def test_a_repeated_id_loses_no_row(home: Path) -> None:
    with Cascade.load(home, Moody(), strategy="tiered", sample_rate=1.0) as cascade:
        for number in range(10):
            cascade.classify(f"turn {number}", id="a conversation")
    decisions, labels = in_log(home)
    assert sorted(row.text for row in decisions) == [f"turn {number}" for number in range(10)]
    assert len(labels) == 10


def test_feedback_means_the_newest_request_of_its_id(home: Path) -> None:
    with Cascade.load(home, sample_rate=1.0) as cascade:
        for text in ("first", "second"):
            cascade.classify(text, id="a conversation")
        cascade.feedback("a conversation", "account")
        cascade.feedback("a conversation", "payments", text="as it was meant")
        cascade.feedback("of another process", "payments", text="far away")
    log = DecisionLog(home / "decisions.db")
    rows = {row.text: row.id for row in log.read_decisions()}
    found = [(row.request_id, row.text, row.intent) for row in log.read_corrections()]
    assert found == [
        (rows["second"], "second", "account"),
        (rows["second"], "as it was meant", "payments"),
        ("of another process", "far away", "payments"),
    ]


def test_day_zero_has_a_rate_of_its_own_until_a_bundle_serves(home: Path, taxonomy: Taxonomy) -> None:
    with day_zero(home, taxonomy, Moody(), day_zero_rate=1.0, sample_rate=0.0) as (cascade, new):
        cascade.classify("before")
        shutil.copytree(home, new, dirs_exist_ok=True)
        wait_until(lambda: cascade.stats()["bundle_id"] is not None)
        cascade.classify("what now, glacier or invoice")
    decisions, _ = in_log(new)
    assert ("before", True, "day zero 1") in {(row.text, row.sampled, row.epoch) for row in decisions}
    assert {row.epoch for row in decisions if not row.sampled} <= {"serving 0"}


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_sample_leaves_the_share_of_deferred_requests_to_the_others(home: Path, rate: float) -> None:
    settings = {"sample_rate": 0.5, "max_teacher_rate": rate, "deferral": "background"}
    with Cascade.load(home, Moody(), strategy="tiered", **settings) as cascade:
        answers = [cascade.classify(f"query {number}") for number in range(200)]
    decisions, labels = in_log(home)
    sampled = {row.id for row in decisions if row.sampled}
    assert labels.keys() >= sampled
    others = sum(answer.deferred for answer in answers if answer.id not in sampled)
    assert 200 * rate * 0.9 <= others <= (200 + 20) * rate


def answered(home: Path, teacher: Any, **settings: Any) -> list[Answer]:
    """Answers of the teacher to twelve new texts."""
    with Cascade.load(home, teacher, strategy="tiered", daily_usd=1.0, deadline_s=30.0, **settings) as cascade:
        # Letters alone: digits might be redacted, and two texts be one.
        answers = [cascade.classify("".join(random.choices("bcdfghjkl", k=12))) for _ in range(12)]
    return [answer for answer in answers if answer.source == "teacher"]


def test_a_share_of_the_days_cap_is_kept_for_the_sample(home: Path, taxonomy: Taxonomy) -> None:
    teacher = FunctionTeacher(Moody(), taxonomy, usd=0.1)
    assert len(answered(home, teacher, sample_rate=1e-12, sample_share=0.3)) == 7
    assert len(answered(home, teacher, sample_rate=1.0, sample_share=0.3)) == 3
    (home / "spend.db").unlink()
    assert len(answered(home, teacher, sample_rate=0.0, sample_share=0.3)) == 10


def test_a_sampled_request_that_found_no_teacher_is_a_row_without_an_answer(home: Path) -> None:
    def gone(text: str) -> str:
        raise ConnectionError("gone")

    with Cascade.load(home, gone, target=0.9, sample_rate=1.0) as cascade:
        assert cascade.classify(CLEAR).source == "student"
    decisions, labels = in_log(home)
    assert [row.sampled for row in decisions] == [True]
    assert not labels
