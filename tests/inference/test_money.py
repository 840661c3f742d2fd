"""Money under faults: what was paid is kept or counted, nothing is asked twice, and the cap holds."""

import asyncio
import collections
import random
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.log.decision_log import DecisionLog
from inference.money.ledger import Ledger
from inference.money.prices import Usage
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply, TeacherError

TAXONOMY = Taxonomy.of(("payments", "account"))
NANO = 1_000_000
FAULTS = ["answer", "answer", "refusal", "unpriced", "bad label", "query", "down", "unsure", "exit", "nonsense"]


class Faulty:
    """A priced teacher that charges, refuses or fails by what stands in a text; it knows what it charged."""

    prompt_id = "prompt"

    def __init__(self, number: int, faults: dict[str, str], slow: float) -> None:
        self.name, self.faults, self.slow = f"faulty-{number}", faults, slow
        self.charged = self.in_doubt = 0
        self.asked: collections.Counter[str] = collections.Counter()
        self.settled: set[str] = set()  # answered, or refused by an answer

    def worst_case(self, text: str) -> int:
        return 3 * NANO

    async def ask(self, text: str, timeout_s: float) -> Reply:
        fault = self.faults[text]
        self.asked[text] += 1
        await asyncio.sleep(self.slow)
        if fault in ("query", "down"):
            raise TeacherError(fault, "no", again=fault == "down")
        if fault in ("unsure", "exit", "nonsense"):
            self.in_doubt += 3 * NANO
            if fault == "nonsense":
                return "payments"  # type: ignore[return-value]
            raise TeacherError(fault, "lost", again=True, unsure=True) if fault == "unsure" else SystemExit(1)
        nano = 3 * NANO if fault == "unpriced" else NANO
        self.charged += nano
        if fault == "unpriced":
            return Reply("payments")
        label = {"answer": "payments", "bad label": "elsewhere"}.get(fault)
        return Reply(label, None if label else "none of them", usage=Usage(1), nano=nano)

    async def close(self) -> None:
        pass


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.lists(st.sampled_from(FAULTS), min_size=6, max_size=6), min_size=1, max_size=2),
    st.sampled_from(["wait", "background", "never"]),
    st.sampled_from([0.0, 0.0, 0.5]),
    st.sampled_from([None, 0.008, 0.02]),
    st.sampled_from([0.0, 0.02]),
    st.integers(0, 99),
)
def test_what_is_paid_is_kept_or_counted_and_nothing_is_asked_twice(
    faults: list[list[str]], mode: str, sample: float, cap: float | None, slow: float, seed: int
) -> None:
    dice, texts = random.Random(seed), [f"text {letter} of jane@example.com" for letter in "abcdef"]
    redacted = [text.replace("jane@example.com", "[email]") for text in texts]
    teachers = [Faulty(n, dict(zip(redacted, some, strict=True)), slow) for n, some in enumerate(faults)]
    rates = {"sample_rate": sample, "day_zero_rate": sample, "sample_share": 0.1 if sample else 0.0}
    limits = {"concurrency": 2, "deadline_s": dice.choice([0.01, 5.0]), "call_limit_s": 5.0, "daily_usd": cap}
    with TemporaryDirectory() as folder:
        home = Path(folder)
        with Cascade.load(home, teachers, taxonomy=TAXONOMY, deferral=mode, **limits, **rates) as cascade:
            answers = []
            for _ in range(3):
                answers += cascade.classify_many(dice.choices(texts, k=6))
                answers.append(cascade.classify(dice.choice(texts)))
        spent = Ledger(home / "spend.db").spent()
        kept = list(DecisionLog(home / "decisions.db").read_answers())
    charged, in_doubt = (sum(getattr(one, name) for one in teachers) for name in ("charged", "in_doubt"))
    assert (spent.measured, spent.unsure, spent.reserved) == (charged, in_doubt, 0)
    assert round(sum(row.cost_usd for row in kept) * 1e9) == charged
    assert round(sum(answer.cost_usd for answer in answers) * 1e9) <= charged
    assert cap is None or spent.measured + spent.unsure <= cap * 1e9
    assert {answer.intent for answer in answers} <= {None, *TAXONOMY.names}
    if not sample:
        for one in teachers:
            once = [t for t in redacted if one.faults[t] in ("answer", "refusal", "unpriced", "bad label", "query")]
            assert all(one.asked[text] <= 1 for text in once), one.asked
    assert mode != "never" or sample or not sum(sum(one.asked.values()) for one in teachers)


class Free:
    """A function that counts its calls, and waits for `go` where there is one."""

    def __init__(self, go: threading.Event | None = None) -> None:
        self.go, self.asked = go, list[str]()

    def __call__(self, text: str) -> str:
        self.asked.append(text)
        if self.go is not None:
            self.go.wait(30)
        return "payments"


def day_zero(home: Path, teacher: object, **values: object) -> Cascade:
    return Cascade.load(home, teacher, taxonomy=TAXONOMY, **{"day_zero_rate": 0.0, **values})


@pytest.mark.parametrize(("sample", "asked"), [(0.0, 0), (1.0, 30)])
def test_a_rate_of_0_asks_nobody_but_for_the_sample(tmp_path: Path, sample: float, asked: int) -> None:
    teacher = Free()
    with day_zero(tmp_path, teacher, max_teacher_rate=0.0, day_zero_rate=sample) as cascade:
        answers = [cascade.classify(f"query {number}") for number in range(30)]
    assert {answer.deferred for answer in answers} == {bool(sample)}
    assert len(teacher.asked) == asked


def test_a_batch_earns_its_share(tmp_path: Path) -> None:
    teacher = Free()
    with day_zero(tmp_path, teacher, max_teacher_rate=0.3, deadline_s=20.0) as cascade:
        cascade.classify_many([f"query {number}" for number in range(500)])
    assert 500 * 0.3 <= len(teacher.asked) <= 500 * 0.3 + 20


def test_many_tasks_at_once_earn_their_share_as_well(tmp_path: Path) -> None:
    async def all_at_once() -> None:
        await asyncio.gather(*(cascade.aclassify(f"query {number}") for number in range(500)))

    teacher = Free()
    with day_zero(tmp_path, teacher, max_teacher_rate=0.3, deadline_s=20.0) as cascade:
        asyncio.run(all_at_once())
    assert 500 * 0.3 <= len(teacher.asked) <= 500 * 0.3 + 20


def test_what_nobody_waits_for_any_more_is_not_sent(tmp_path: Path) -> None:
    teacher = Free(go=threading.Event())
    with day_zero(tmp_path, teacher, concurrency=1, deadline_s=0.2) as cascade:
        assert {answer.source for answer in cascade.classify_many([f"query {n}" for n in range(8)])} == {"fallback"}
        teacher.go.set()
    assert len(teacher.asked) == 1


def test_two_teachers_under_load_are_not_both_paid_for_what_one_will_answer(tmp_path: Path) -> None:
    def slow(text: str) -> str:
        time.sleep(0.1)
        return "payments"

    def also_slow(text: str) -> str:
        second.append(text)
        return slow(text)

    second: list[str] = []
    with day_zero(tmp_path, [slow, also_slow], concurrency=1, deadline_s=30.0) as cascade:
        answers = cascade.classify_many([f"query {number}" for number in range(8)])
    assert {answer.source for answer in answers} == {"teacher"}
    assert second == []


def test_a_deadline_beyond_the_limit_of_a_call_is_kept(tmp_path: Path) -> None:
    with day_zero(tmp_path, lambda text: time.sleep(0.1) or "payments", concurrency=1, deadline_s=30.0,
                  call_limit_s=0.5) as cascade:  # fmt: skip
        answers = cascade.classify_many([f"query {number}" for number in range(12)])
    assert {answer.source for answer in answers} == {"teacher"}


def test_a_cap_with_a_teacher_of_unknown_price_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with day_zero(tmp_path, Free(), daily_usd=1.0):
        assert "is not priced" in caplog.text
    caplog.clear()
    with day_zero(tmp_path, Free()):
        assert "is not priced" not in caplog.text


@pytest.mark.parametrize("kind", ["raises", "refuses"])
def test_reasons_and_names_hold_nothing_private(tmp_path: Path, kind: str) -> None:
    said = "GET https://svc:s3cr3tpw@host/v1?key=AIzaSyA1234567890abcdefghijklmnopqrstuv for jane@example.com"

    def leaky(text: str) -> str:
        if kind == "raises":
            raise RuntimeError(said)
        return said

    teacher = FunctionTeacher(leaky, TAXONOMY, name="own@http://svc:s3cr3tpw@host/v1")
    with day_zero(tmp_path, teacher, day_zero_rate=1.0) as cascade:
        seen = str(cascade.classify("what now")) + str(cascade.stats())
    seen += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.glob("decisions.db*"))
    for part in ("s3cr3tpw", "AIza", "jane"):
        assert part not in seen
