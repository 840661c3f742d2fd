import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.money.ledger import Ledger, Spent
from inference.teachers.teacher import TeacherError
from tests.fake_api import FakeAPI
from tests.fake_http import Response
from tests.fake_wire import FAILURES, ApiError
from tests.training import test_label
from tests.training.test_label import rows, write_queries
from training import label as labelling
from training.labelling.streak import Stopped, Streak

home = test_label.home
MESSAGES, BATCHES = "POST /v1/messages", "POST /v1/messages/batches"
WORKERS = 8


def stops(outcomes: list[bool], most: int) -> bool:
    streak = Streak(most)
    for usable in outcomes:
        streak.usable() if usable else streak.unusable("why")
    return streak.reason is not None


@given(st.lists(st.booleans()), st.integers(1, 5))
def test_a_run_stops_after_so_many_unusable_outcomes_in_a_row_and_never_before(outcomes: list[bool], most: int) -> None:
    longest = max((len(list(run)) for usable, run in itertools.groupby(outcomes) if not usable), default=0)
    assert stops(outcomes, most) is (longest >= most)


def test_the_first_reason_stays_and_the_most_frequent_one_is_told() -> None:
    streak = Streak(3)
    streak.check()
    for reason in ("one", "other", "other", "late", "late", "late"):
        streak.unusable(reason)
    with pytest.raises(Stopped, match="3 queries in a row got no usable answer, most often: other"):
        streak.check()


def test_an_error_that_is_about_one_query_does_not_count_and_a_fatal_one_ends_the_run() -> None:
    streak = Streak(1)
    streak.failed(TeacherError("missing", "no answer was recorded"))
    assert streak.reason is None
    streak.failed(TeacherError("key", "wrong key", fatal=True))
    assert streak.reason == "wrong key"


class Account:
    """Faults of an account that pays for so many answers, until there is more."""

    def __init__(self, answers: int, fault: str) -> None:
        self.left, self.fault = answers, fault

    def __call__(self, query: str, attempt: int) -> str | None:
        self.left -= 1
        return self.fault if self.left < 0 else None


def arguments(home: Path, url: str, *more: str) -> list[str]:
    return test_label.arguments(home, url, "--timeout-s", "60", *more)


def spent(home: Path) -> Spent:
    return Ledger(home / ".out.jsonl.job" / "spend.db", period="ever").spent()


def reasons(home: Path) -> set[str]:
    return set(json.loads((home / ".out.jsonl.job" / "failed.json").read_text()).values())


def under_way(home: Path) -> list[object]:
    return list(json.loads((home / ".out.jsonl.job" / "batches.json").read_text()))


@pytest.mark.parametrize("fault", ["400-credit", "402", "429-spend"])
def test_sync_labelling_stops_at_once_when_the_credit_ends_and_goes_on_when_there_is_more(
    home: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 60)
    account = Account(21, fault)
    with FakeAPI(fence="query", faults=account) as api:
        given = arguments(home, api.url, "--votes", "2")
        assert labelling.main(given) == 1
        assert 0 < api.calls[MESSAGES] - 21 <= WORKERS
        assert spent(home) == Spent(api.charged_nano, 0, 0)
        assert len(reasons(home)) == 1
        assert f"stopped: {given[2]} answered {fault[:3]}" in capsys.readouterr().err
        account.left = 10**6
        assert labelling.main(given) == 0
        assert sum(api.answers.values()) == 2 * 60
    assert len(rows(home)) == 60


def test_openai_labelling_stops_at_once_when_the_quota_is_used_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    write_queries(home, 60)
    with FakeAPI(fence="query", faults=Account(20, "429-spend")) as api:
        teacher = ["--teacher", f"openai:llama3.2@{api.url}/v1"]
        assert labelling.main([*arguments(home, api.url), *teacher]) == 1
        assert 0 < api.calls["POST /v1/chat/completions"] - 20 <= WORKERS
    assert len(rows(home)) == 20


@pytest.mark.parametrize(("fault", "created"), [("400-credit", 2), ("errored", 3), ("wrong-label", 3)])
def test_no_batch_follows_one_that_failed_as_a_whole_or_for_want_of_credit(
    home: Path, fault: str, created: int
) -> None:
    write_queries(home, 100)
    with FakeAPI(fence="query", faults=Account(30, fault), batch_delay_s=0.05) as api:
        given = arguments(home, api.url, "--mode", "batch", "--batch-size", "20", "--batches", "1")
        assert labelling.main(given) == 1
        assert api.batches_created == created
        assert spent(home) == Spent(api.charged_nano, 0, 0)
    assert len(rows(home)) == 30
    assert len(reasons(home)) == 1
    assert not under_way(home)


class OutOfCredit(FakeAPI):
    """Refuses every request, free ones too, once it gave one answer."""

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        if not self.attempts:
            return super().respond(method, target, headers, raw)
        self.calls[f"{method} {target}"] += 1
        raise ApiError(*FAILURES["400-credit"])


def test_a_batch_that_is_refused_for_want_of_credit_leaves_nothing_reserved(home: Path) -> None:
    write_queries(home, 60)
    given = ("--mode", "batch", "--batch-size", "20")
    with OutOfCredit(fence="query") as api:
        assert labelling.main(arguments(home, api.url, *given)) == 1
        assert api.calls[BATCHES] == 1
        assert spent(home) == Spent(api.charged_nano, 0, 0)
        assert labelling.main(arguments(home, api.url, *given)) == 2  # it will not even count
    assert not under_way(home)


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_a_run_without_a_usable_answer_stops_after_ten_queries(
    home: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 100)
    with FakeAPI(fence="query", faults=lambda query, attempt: "max_tokens", batch_delay_s=0.05) as api:
        assert labelling.main(arguments(home, api.url, "--mode", mode)) == 1
        assert sum(api.attempts.values()) <= (3 * (10 + WORKERS) if mode == "sync" else 3 + 99)
    assert "queries in a row got no usable answer, most often: cut off" in capsys.readouterr().err


def test_a_small_run_without_a_usable_answer_exits_with_one(home: Path) -> None:
    write_queries(home, 10)
    with FakeAPI(fence="query", faults=lambda query, attempt: "refusal") as api:
        assert labelling.main(arguments(home, api.url)) == 1
    assert len(rows(home)) == 10


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_bad_queries_between_good_ones_stop_nothing(home: Path, mode: str) -> None:
    good = set(write_queries(home, 40)[9::10])
    with FakeAPI(fence="query", faults=lambda query, attempt: None if query in good else "refusal") as api:
        given = arguments(home, api.url, "--mode", mode, "--workers", "1", "--batch-size", "13")
        assert labelling.main(given) == 0
    assert sum(row["label"] is not None for row in rows(home)) == len(good)


def test_answers_that_were_never_recorded_stop_nothing(home: Path) -> None:
    texts = write_queries(home, 40)
    recorded = [{"text": text, "label": "tickets"} for text in (texts[0], *texts[30:])]
    (home / "recorded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in recorded))
    teacher = ["--teacher", f"recorded:{home}/recorded.jsonl"]
    assert labelling.main([*arguments(home, "http://127.0.0.1:9"), *teacher]) == 1
    assert len(rows(home)) == len(recorded)
