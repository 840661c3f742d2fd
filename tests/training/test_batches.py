import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.money.ledger import Ledger, Spent
from inference.teachers.openai import OpenAITeacher
from tests.fake_api import FakeAPI
from tests.fake_batches import Gateway, OpenAIBatches, Vanishing
from tests.training import test_label
from tests.training.test_label import NAMES, rows, write_queries
from training import label as labelling
from training.labelling.job import Job
from training.labelling.labeller import Options, label
from training.labelling.patience import Patience
from training.labelling.queries import read_queries
from training.labelling.underway import Batch, UnderWay

home = test_label.home
ONE = r"GET /v1/messages/batches/msgbatch_\w+"
LIST, CREATE = "GET /v1/messages/batches", "POST /v1/messages/batches"


def arguments(home: Path, url: str, *more: str) -> list[str]:
    return test_label.arguments(home, url, "--mode", "batch", "--timeout-s", "60", *more)


def spent(home: Path) -> Spent:
    return Ledger(home / ".out.jsonl.job" / "spend.db", period="ever").spent()


def test_several_batches_are_under_way_at_once_and_no_more_than_told(home: Path) -> None:
    write_queries(home, 31)
    with Vanishing(fence="query", batch_delay_s=0.2) as api:
        assert labelling.main(arguments(home, api.url, "--batch-size", "5", "--batches", "3")) == 0
        assert api.most == 3
        assert spent(home) == Spent(api.charged_nano, 0, 0)
    assert len({row["text"] for row in rows(home)}) == len(rows(home)) == 31


def test_batches_under_way_at_once_are_reserved_under_the_cap_together(home: Path) -> None:
    write_queries(home, 41)
    with Vanishing(fence="query", batch_delay_s=0.1) as api:
        given = arguments(home, api.url, "--batch-size", "10", "--max-usd", "0.001")
        status = labelling.main(given)
        assert 0 < api.charged_nano <= 0.001 * 1e9
        assert spent(home).reserved == 0
        assert (status == 0) == (len(rows(home)) == 41)
        assert labelling.main(arguments(home, api.url, "--batch-size", "10")) == 0
    assert len({row["text"] for row in rows(home)}) == len(rows(home)) == 41


@pytest.mark.parametrize("deleted", [False, True])
def test_a_batch_that_is_gone_is_dropped_doubted_and_asked_again(
    home: Path, deleted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 41)
    with Vanishing(fence="query", batch_delay_s=0.05, lost=(1,), deleted=deleted) as api:
        assert labelling.main(arguments(home, api.url, "--batch-size", "20")) == 0
        assert api.batches_created == 3
        assert spent(home).measured == api.charged_nano
        assert spent(home).unsure > 0
        assert spent(home).reserved == 0
    assert len({row["text"] for row in rows(home)}) == len(rows(home)) == 41
    assert "a batch is lost" in capsys.readouterr().err
    assert not UnderWay(home / ".out.jsonl.job").all()


def test_a_batch_that_vanished_between_two_runs_blocks_neither_way_of_asking(home: Path) -> None:
    write_queries(home, 1)
    with FakeAPI(fence="query") as api:
        assert labelling.main([*arguments(home, api.url), "--mode", "sync"]) == 0
    url = f"anthropic:claude-haiku-5-5@{api.url}"
    job = home / ".out.jsonl.job"
    [row] = rows(home)
    reservation = Ledger(job / "spend.db", period="ever").reserve(1000)
    lost = Batch("n", 0.0, reservation, url, row["monoku_prompt_id"], {"n-0": row["monoku_query"]}, True, "msgbatch_0")
    UnderWay(job).put(lost)
    assert labelling.main([*arguments(home, api.url), "--mode", "sync"]) == 2
    with FakeAPI(fence="query", port=int(api.url.rpartition(":")[2]), batch_delay_s=0.05) as api:
        assert labelling.main(arguments(home, api.url)) == 0
        assert spent(home).unsure == 1000
        write_queries(home, 21)
        assert labelling.main([*arguments(home, api.url), "--mode", "sync"]) == 0
    assert len(rows(home)) == 22


def test_what_a_lost_batch_may_have_cost_counts_against_the_cap(home: Path) -> None:
    write_queries(home, 41)
    with Vanishing(fence="query", batch_delay_s=0.05, lost=range(99)) as api:
        given = arguments(home, api.url, "--batch-size", "20", "--max-usd", "0.005")
        assert labelling.main(given) == 1
        assert spent(home).measured + spent(home).unsure <= 0.005 * 1e9
        assert api.batches_created < 8
    assert not UnderWay(home / ".out.jsonl.job").all()


@pytest.mark.parametrize(
    ("lacking", "message", "left"),
    [
        ([CREATE], "--mode sync needs no batches", 0),
        ([ONE], "lists it all the same", 1),
        ([ONE, LIST], "no such service at this address", 1),
    ],
)
def test_a_gateway_without_batches_stops_the_run_and_is_paid_once_at_most(
    home: Path, lacking: Sequence[str], message: str, left: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 21)
    with Gateway(fence="query", lacking=lacking, batch_delay_s=0.05) as api:
        assert labelling.main(arguments(home, api.url)) == 1
        assert api.batches_created == left
    assert message in capsys.readouterr().err
    assert len(UnderWay(home / ".out.jsonl.job").all()) == left
    assert (spent(home).reserved > 0) == (left > 0)


def test_a_lost_reply_to_create_is_doubted_where_batches_cannot_be_listed(home: Path) -> None:
    write_queries(home, 11)
    with Gateway(fence="query", lacking=[LIST], drop_create_response=True, batch_delay_s=0.05) as api:
        options = Options("batch", poll_s=0.05, patience=Patience(tries=3, longest_s=0.01))
        with Job(home / "out.jsonl", teacher_at(home, api.url)) as job:
            failed = asyncio.run(label(read_queries(home / "queries.jsonl", str).queries, job, options))
            assert len(failed) == 10
            assert job.ledger.spent().unsure > 0
        assert api.batches_created == 4  # the rounds


def teacher_at(home: Path, url: str, kind: str = "anthropic:claude-haiku-5-5"):  # type: ignore[no-untyped-def]
    from inference.teachers.registry import open_teacher

    return open_teacher(f"{kind}@{url}", Taxonomy.load(home / "taxonomy.toml"))


@pytest.fixture
def openai(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    return home


def run_openai(home: Path, api: OpenAIBatches, cap: float | None = None, size: int = 20) -> dict[str, str]:
    teacher = teacher_at(home, f"{api.url}/v1", "openai:gpt-6-luna")
    assert isinstance(teacher, OpenAITeacher)
    teacher.local = False  # what is charged is to be booked
    options = Options("batch", batch_size=size, poll_s=0.02, patience=Patience(longest_s=0.01))
    with Job(home / "out.jsonl", teacher, cap_usd=cap) as job:
        return asyncio.run(label(read_queries(home / "queries.jsonl", str).queries, job, options))


def test_openai_batches_label_every_query_once_at_half_the_price(openai: Path) -> None:
    texts = write_queries(openai, 41)
    with OpenAIBatches(fence="query") as api:
        assert not run_openai(openai, api)
        assert api.batches_created == 2
        assert max(api.answers.values()) == 1
        assert spent(openai) == Spent(api.charged_nano, 0, 0)
        assert not run_openai(openai, api)
        assert api.batches_created == 2
    assert sorted(row["text"] for row in rows(openai)) == sorted(texts)
    assert {row["label"] for row in rows(openai)} <= set(NAMES)


def test_openai_rows_that_expired_or_failed_go_into_the_next_batch(openai: Path) -> None:
    texts = write_queries(openai, 21)

    def once(query: str, attempt: int) -> str | None:
        return "500" if query == texts[5] and attempt == 0 else None

    with OpenAIBatches(fence="query", faults=once, expire=True) as api:
        assert not run_openai(openai, api)
        assert api.batches_created == 2
        assert spent(openai) == Spent(api.charged_nano, 0, 0)
    assert len(rows(openai)) == 21


def test_a_lost_reply_to_creating_an_openai_batch_is_looked_up_by_its_nonce(openai: Path) -> None:
    write_queries(openai, 41)
    with OpenAIBatches(fence="query", drop_create_response=True) as api:
        assert not run_openai(openai, api)
        assert api.batches_created == 2
        assert spent(openai) == Spent(api.charged_nano, 0, 0)


@pytest.mark.parametrize("code", ["billing_hard_limit_reached", "token_limit_exceeded", "model_not_found"])
def test_an_openai_batch_that_is_refused_as_a_whole_costs_nothing_and_says_why(openai: Path, code: str) -> None:
    write_queries(openai, 41)
    with OpenAIBatches(fence="query", refused=code) as api:
        failed = run_openai(openai, api)
        assert spent(openai) == Spent(api.charged_nano, 0, 0)
    assert len(failed) == 40
    assert all(f"refused: {code}" in reason for reason in failed.values())
    assert not UnderWay(openai / ".out.jsonl.job").all()


def test_an_openai_account_whose_credit_ends_keeps_what_came(openai: Path) -> None:
    texts = write_queries(openai, 61)
    broke = dict.fromkeys(texts[15:], "429-spend")
    with OpenAIBatches(fence="query", faults=lambda query, attempt: broke.get(query)) as api:
        failed = run_openai(openai, api)
        assert spent(openai) == Spent(api.charged_nano, 0, 0)
    assert len(rows(openai)) == 15
    assert len(failed) == 46
    assert any("insufficient_quota" in reason for reason in failed.values())


def test_an_openai_cap_holds_in_batches(openai: Path) -> None:
    write_queries(openai, 40)
    with OpenAIBatches(fence="query") as api:
        run_openai(openai, api, cap=0.00085, size=10)
        assert 0 < api.charged_nano <= 0.00085 * 1e9


def test_an_openai_batch_whose_results_were_deleted_is_doubted_and_asked_again(
    openai: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(openai, 21)
    with OpenAIBatches(fence="query", deleted=1) as api:
        assert not run_openai(openai, api)
        assert api.batches_created == 2
        assert spent(openai).measured == api.charged_nano
        assert spent(openai).unsure > 0
    assert "a batch is lost" in capsys.readouterr().err
