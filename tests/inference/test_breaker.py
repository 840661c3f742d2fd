import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.bundle.taxonomy import Taxonomy
from inference.serving.deferral import Deferral
from inference.serving.paid import Question
from inference.teachers.breaker import Breaker
from inference.teachers.own import FunctionTeacher
from inference.teachers.teacher import Reply, TeacherError

BAD_QUERIES = [TeacherError(kind, "400") for kind in ("request", "size", "filtered", "missing")]
FAILURES = [
    TeacherError("server", "500", again=True),
    TeacherError("key", "401", fatal=True),
    TimeoutError(),
    RuntimeError("a teacher of somebody's own"),
]
GOOD, DECLINED, UNUSABLE = Reply("a"), Reply(None, "declined"), Reply(None, "not JSON", again=True)


def tell(breaker: Breaker, outcome: Reply | BaseException | None) -> None:
    if outcome is None:
        breaker.spare()
    elif isinstance(outcome, Reply):
        breaker.answered(outcome)
    else:
        breaker.raised(outcome)


@given(st.lists(st.sampled_from([None, *BAD_QUERIES, GOOD, DECLINED]), max_size=60))
def test_a_bad_query_or_a_call_that_was_never_made_opens_nothing(outcomes: list[Reply | BaseException | None]) -> None:
    breaker = Breaker(failures=1, unusable=1)
    for outcome in outcomes:
        assert breaker.allows()
        tell(breaker, outcome)
    assert breaker.state == "closed"


@given(st.lists(st.sampled_from([None, *BAD_QUERIES, *FAILURES, GOOD, DECLINED, UNUSABLE]), max_size=60))
def test_it_opens_after_so_many_failures_or_unusable_answers_since_the_last_good_one(
    outcomes: list[Reply | BaseException | None],
) -> None:
    breaker, failed, unusable = Breaker(failures=2, unusable=3, now=lambda: 0.0), 0, 0
    for outcome in outcomes:
        assert (breaker.state == "open") is (failed >= 2 or unusable >= 3) is not breaker.allows()
        if breaker.state == "open":
            return
        tell(breaker, outcome)
        good = outcome is GOOD or outcome is DECLINED
        failed = 0 if good else failed + (outcome in FAILURES)
        unusable = 0 if good else unusable + (outcome is UNUSABLE)


def test_one_probe_goes_after_the_rest_and_decides() -> None:
    now = [0.0]
    breaker = Breaker(failures=1, rest_s=10.0, now=lambda: now[0])
    breaker.record(False)
    assert not breaker.allows()
    for outcome, state in ((FAILURES[0], "open"), (BAD_QUERIES[0], "half-open"), (UNUSABLE, "open"), (GOOD, "closed")):
        now[0] += 10
        assert (breaker.allows(), breaker.allows()) == (True, False)
        tell(breaker, outcome)
        assert breaker.state == state


class Answering(FunctionTeacher):
    """A teacher whose calls end as its texts say."""

    def __init__(self) -> None:
        super().__init__(str, Taxonomy.of(("a", "b")))

    async def ask(self, text: str, timeout_s: float) -> Reply:
        if text.startswith("bad"):
            raise TeacherError("request", "t answered 400: content filter")
        return UNUSABLE if text.startswith("odd") else GOOD


@pytest.mark.parametrize(("text", "state"), [("bad", "closed"), ("odd", "open")])
def test_online_a_teacher_rests_after_unusable_answers_and_not_after_bad_queries(text: str, state: str) -> None:
    deferral = Deferral([Answering()], None, None, lambda text, outcome: None, 10.0, 4)
    try:
        for i in range(20):
            deferral.ask(Question(str(i), f"{text} {i}", False), None).result(30)
        assert list(deferral.states().values()) == [state]
        good = deferral.ask(Question("x", "good", False), None).result(30)
        assert (good.intent == "a") is (state == "closed")
    finally:
        deferral.close(5)
