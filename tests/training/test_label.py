import asyncio
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.common.commands import BUSY
from inference.common.locks import take_lock
from inference.money.ledger import Ledger
from inference.money.prices import Usage, cost
from inference.teachers.own import FunctionTeacher
from tests.fake_api import FakeAPI
from tests.fake_wire import CALL_FAULTS
from training import label as labelling
from training.labelling import labeller
from training.labelling.job import Job
from training.labelling.queries import Query

TAXONOMY = """
[[intents]]
name = "tickets"
definition = "{cases}"
[[intents]]
name = "Payments"
[[intents]]
name = "unknown"
out_of_scope = true
""".replace("{cases}", "a case " * 400)
NAMES = ("tickets", "Payments", "unknown")
MILD = tuple(kind for kind in CALL_FAULTS if kind not in ("429-spend", "429-long", "400-credit", "402"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "test-key")
    (tmp_path / "taxonomy.toml").write_text(TAXONOMY)
    return tmp_path


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    with FakeAPI(fence="query") as running:
        yield running


def write_queries(home: Path, count: int) -> list[str]:
    texts = [f"query number {word} of {count}" for word in range(count)]
    (home / "queries.jsonl").write_text("".join(json.dumps({"text": text, "id": text}) + "\n" for text in texts))
    return texts


def arguments(home: Path, url: str, *more: str) -> list[str]:
    teacher = ["--teacher", f"anthropic:claude-haiku-5-5@{url}"]
    out = ["--taxonomy", f"{home}/taxonomy.toml", "--out", f"{home}/out.jsonl", "--yes", "--timeout-s", "1"]
    return [f"{home}/queries.jsonl", *teacher, *out, "--poll-s", "0.05", *more]


def rows(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]


def ledger_nano(home: Path) -> int:
    return Ledger(home / ".out.jsonl.job" / "spend.db", period="ever").spent().measured


@pytest.mark.parametrize("mode", ["sync", "batch"])
def test_every_query_is_labelled_once_at_the_price_that_was_charged(home: Path, api: FakeAPI, mode: str) -> None:
    texts = write_queries(home, 30)
    assert labelling.main(arguments(home, api.url, "--mode", mode)) == 0
    found = rows(home)
    assert sorted(row["text"] for row in found) == sorted(texts)
    assert {row["label"] for row in found} <= set(NAMES)
    assert round(sum(row["monoku_cost_usd"] for row in found) * 1e9) == ledger_nano(home) == api.charged_nano
    for row in found:
        assert row["monoku_labeler"].startswith("anthropic:claude-haiku-5-5")
        assert row["monoku_prompt_id"].startswith("prompt-")
        assert row["id"] == row["text"]
        assert {"monoku_usage", "monoku_time"} <= row.keys()


def test_duplicates_are_asked_once_and_a_given_label_is_kept(home: Path, api: FakeAPI) -> None:
    lines = [{"text": "Hello there", "label": "old"}, {"text": "hello  there"}, {"text": "other"}]
    (home / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert labelling.main(arguments(home, api.url)) == 0
    assert sum(api.attempts.values()) == 2
    assert rows(home)[0]["monoku_given"] == "old"


def test_line_separators_in_a_query_do_no_harm(home: Path, api: FakeAPI) -> None:
    text = "pasted\u2028text\u2029with\x85all of them"
    (home / "queries.jsonl").write_text(json.dumps({"text": text}) + "\n")
    for _ in range(2):
        assert labelling.main(arguments(home, api.url)) == 0
    (line,) = (home / "out.jsonl").read_text().rstrip("\n").split("\n")
    assert json.loads(line)["text"] == text


def test_a_first_query_that_fails_by_itself_does_not_stop_the_others(home: Path) -> None:
    write_queries(home, 5)
    (home / "recorded.jsonl").write_text(
        "".join(json.dumps({"text": f"query number {i} of 5", "label": "tickets"}) + "\n" for i in range(1, 5))
    )
    given = [f"{home}/queries.jsonl", "--taxonomy", f"{home}/taxonomy.toml", "--out", f"{home}/out.jsonl"]
    assert labelling.main([*given, "--teacher", f"recorded:{home}/recorded.jsonl"]) == 1
    assert len(rows(home)) == 4


def test_a_batch_under_way_is_finished_before_anything_else_is_asked(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 20)
    with Server(home, "--batch-delay-s", "2") as server:
        given = arguments(home, server.url, "--mode", "batch")
        process = start(given)
        batches = home / ".out.jsonl.job" / "batches.json"
        while not (batches.exists() and any(batch["id"] for batch in json.loads(batches.read_text()))):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert labelling.main(arguments(home, server.url, "--mode", "sync")) == 2
        assert "under way" in capsys.readouterr().err
        (home / "taxonomy.toml").write_text(TAXONOMY + '[[intents]]\nname = "new"\n')
        assert labelling.main(given) == 2
        assert "under way" in capsys.readouterr().err


def test_running_again_asks_nothing(home: Path, api: FakeAPI) -> None:
    write_queries(home, 5)
    assert labelling.main(arguments(home, api.url)) == 0
    before = (home / "out.jsonl").read_bytes(), sum(api.attempts.values())
    assert labelling.main(arguments(home, api.url)) == 0
    assert ((home / "out.jsonl").read_bytes(), sum(api.attempts.values())) == before


def test_refusals_are_reported_with_their_reason_and_cost(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 4)
    kinds = {"0": "refusal", "1": "wrong-label", "2": "max_tokens"}
    with FakeAPI(fence="query", faults=lambda query, attempt: kinds.get(query.split()[2])) as api:
        assert labelling.main(arguments(home, api.url)) == 0
        assert ledger_nano(home) == api.charged_nano
        assert api.attempts["query number 0 of 4"] == 1
        assert api.attempts["query number 1 of 4"] == 3
    found = {row["text"].split()[2]: row for row in rows(home)}
    assert [found[number]["label"] is None for number in "0123"] == [True, True, True, False]
    assert "declined" in found["0"]["monoku_refusal"]
    assert "not an intent" in found["1"]["monoku_refusal"]
    assert "cut off" in found["2"]["monoku_refusal"]
    assert "refused         3" in capsys.readouterr().out


def test_votes_are_stored_as_shares(home: Path) -> None:
    write_queries(home, 3)
    asked: collections.Counter[str] = collections.Counter()

    def wavering(query: str, labels: Sequence[str]) -> str:
        asked[query] += 1
        return labels[0] if asked[query] % 3 else labels[1]

    with FakeAPI(answer=wavering, fence="query") as api:
        assert labelling.main(arguments(home, api.url, "--votes", "3")) == 0
        assert sum(row["monoku_cost_usd"] for row in rows(home)) == pytest.approx(api.charged_nano / 1e9)
    for row in rows(home):
        assert row["label"] == "tickets"
        assert row["monoku_shares"] == {"Payments": pytest.approx(1 / 3), "tickets": pytest.approx(2 / 3)}


def announced(out: str) -> tuple[int, int, float, float]:
    """Answers, input tokens, estimated dollars by calls and dollars at most, of the last plan that was printed."""
    plan = (
        r"to ask +(\d+) answers .* about (\d+) input tokens\nabout +sync uncached \$([\d.]+\d).*\nat most +\$([\d.]+\d)"
    )
    answers, tokens, about, most = re.findall(plan, out)[-1]
    return int(answers), int(tokens), float(about), float(most)


@pytest.mark.parametrize("mode", ["sync", "batch"])
@pytest.mark.parametrize("votes", [1, 5])
def test_what_is_announced_is_what_is_asked_and_no_more_is_spent(
    home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str], mode: str, votes: int
) -> None:
    write_queries(home, 20)
    assert labelling.main(arguments(home, api.url, "--timeout-s", "60", "--votes", str(votes), "--mode", mode)) == 0
    answers, tokens, about, most = announced(capsys.readouterr().out)
    assert answers == votes * 20 == sum(api.attempts.values())
    assert tokens == pytest.approx(
        sum(Usage.from_dict(row["monoku_usage"]).prompt_tokens for row in rows(home)), rel=0.05
    )
    assert about == pytest.approx(answers * cost("claude-haiku-5-5", Usage(tokens // answers, 16)) / 1e9, rel=0.01)
    assert api.charged_nano / 1e9 <= most


def test_answers_on_hand_are_not_announced_again(home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 20)
    given = arguments(home, api.url, "--timeout-s", "60", "--votes", "5")
    assert labelling.main([*given, "--max-usd", "0.002"]) == 1
    before, charged = sum(api.attempts.values()), api.charged_nano
    assert before % 5
    assert labelling.main(given) == 0
    answers, _, _, most = announced(capsys.readouterr().out)
    assert answers == 100 - before == sum(api.attempts.values()) - before
    assert (api.charged_nano - charged) / 1e9 <= most


def test_answers_without_an_intent_are_within_what_is_announced_at_most(home: Path) -> None:
    asked: collections.Counter[str] = collections.Counter()
    plans: list[labeller.Plan] = []

    def erring(text: str) -> str:
        asked[text] += 1
        return "tickets" if asked[text] % 3 else "no intent"

    def consent(plan: labeller.Plan) -> bool:
        plans.append(plan)
        return True

    teacher = FunctionTeacher(erring, Taxonomy.load(home / "taxonomy.toml"), usd=0.001)
    with Job(home / "out.jsonl", teacher, votes=6) as job:
        queries = [Query(text, text) for text in ("one", "two", "three")]
        assert not asyncio.run(labeller.label(queries, job, labeller.Options(confirm=consent)))
        (plan,) = plans
        assert (plan.answers, asked.total()) == (3 * 6, 3 * 8)
        assert job.ledger.spent().measured == plan.most == 3 * 8 * 1_000_000


def test_the_cap_holds_with_eight_workers(home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 200)
    cap = 0.002
    assert labelling.main(arguments(home, api.url, "--max-usd", str(cap), "--workers", "8")) == 1
    assert 0 < api.charged_nano <= cap * 1e9
    assert ledger_nano(home) == api.charged_nano
    assert 5 < len(rows(home)) < 200
    assert "cap of $0.002" in capsys.readouterr().out
    assert labelling.main(arguments(home, api.url)) == 0  # the rest, once there is money
    assert len({row["text"] for row in rows(home)}) == len(rows(home)) == 200


def test_a_cap_limits_batches_too(home: Path, api: FakeAPI) -> None:
    write_queries(home, 150)
    assert labelling.main(arguments(home, api.url, "--mode", "batch", "--max-usd", "0.001")) == 1
    assert 0 < api.charged_nano <= 0.001 * 1e9


@pytest.mark.parametrize("kind", MILD)
def test_each_fault_is_survived(home: Path, kind: str) -> None:
    texts = write_queries(home, 6)

    def once(query: str, attempt: int) -> str | None:
        return kind if attempt == 0 and query != texts[0] else None

    with FakeAPI(fence="query", faults=once, hang_s=2) as api:
        assert labelling.main(arguments(home, api.url, "--timeout-s", "0.3")) == 0
        assert ledger_nano(home) == api.charged_nano
    assert sorted(row["text"] for row in rows(home)) == sorted(texts)


def test_a_spend_limit_at_the_provider_stops_the_run_and_loses_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 20)
    with FakeAPI(fence="query", faults=lambda query, attempt: "429-spend" if " 9 " in query else None) as api:
        assert labelling.main(arguments(home, api.url)) == 1
    assert 1 <= len(rows(home)) < 20
    assert "429" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "model", "url", "message"),
    [
        ("", "claude-haiku-5-5", None, "set ANTHROPIC_API_KEY"),
        ("wrong", "claude-haiku-5-5", None, "answered 401"),
        ("test-key", "claude-haiku-9", None, "no price for the model"),
        ("test-key", "claude-3-haiku-20240307", None, "answered 404"),
        ("test-key", "claude-haiku-5-5", "http://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_what_makes_labelling_impossible_is_one_clear_line(
    home: Path, api: FakeAPI, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str, model: str,
    url: str | None, message: str,
) -> None:  # fmt: skip
    write_queries(home, 2)
    monkeypatch.setenv("ANTHROPIC_API_KEY", key)
    teacher = f"anthropic:{model}@{url or api.url}"
    assert labelling.main([*arguments(home, api.url), "--teacher", teacher]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0
    assert not sum(api.attempts.values())


def test_without_yes_and_without_a_terminal_nothing_is_spent(home: Path, api: FakeAPI) -> None:
    write_queries(home, 2)
    given = [word for word in arguments(home, api.url) if word != "--yes"]
    assert labelling.main(given) == 1
    assert not sum(api.attempts.values())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("queries.jsonl", b'{"text": [3]}\n', "queries.jsonl:1: text must be a string, got"),
        ("queries.jsonl", b"\xfa\n", "queries.jsonl:1"),
        ("queries.txt", b"good\n\xff\n", "queries.txt:2: not UTF-8"),
        ("queries.txt", b"\n", "has no queries"),
    ],
)
def test_bad_input_is_refused_by_place(
    home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str], name: str, content: bytes, message: str
) -> None:
    (home / name).write_bytes(content)
    assert labelling.main([f"{home}/{name}", *arguments(home, api.url)[1:]]) == 2
    assert message in capsys.readouterr().err


def test_a_row_that_a_kill_cut_short_is_written_again(home: Path, api: FakeAPI) -> None:
    write_queries(home, 5)
    assert labelling.main(arguments(home, api.url)) == 0
    whole = (home / "out.jsonl").read_text().splitlines()
    (home / "out.jsonl").write_text("\n".join(whole)[:-20])
    asked = sum(api.attempts.values())
    assert labelling.main(arguments(home, api.url)) == 0
    assert sum(api.attempts.values()) == asked
    assert len(rows(home)) == 5


def test_a_second_process_on_the_same_output_says_so(home: Path, api: FakeAPI) -> None:
    write_queries(home, 2)
    with take_lock(home / ".out.jsonl.job" / "lock", "held by a test"):
        assert labelling.main(arguments(home, api.url)) == BUSY


def test_what_the_redactor_removes_is_neither_sent_nor_written(home: Path, api: FakeAPI) -> None:
    (home / "queries.jsonl").write_text(json.dumps({"text": "my card is 4111 1111 1111 1111, mail a.b@example.com"}))
    assert labelling.main(arguments(home, api.url)) == 0
    seen = json.dumps(api.bodies) + (home / "out.jsonl").read_text()
    assert "4111" not in seen
    assert "example.com" not in seen


class Server:
    """The stand-in as a process of its own, so that the labelling process can be killed."""

    def __init__(self, home: Path, *more: str) -> None:
        self.state = home / "server.json"
        command = [sys.executable, "-m", "tests.fake_api", "--state", str(self.state), "--fence", "query", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def counters(self) -> dict[str, Any]:
        return dict(json.loads(self.state.read_text()))

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)


def start(given: list[str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "training.label", *given]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after_rows(home: Path, given: list[str], more_rows: int) -> bool:
    """Start labelling, kill it once it has written `more_rows` more; whether it was still at work."""
    out = home / "out.jsonl"
    before = out.read_bytes().count(b"\n") if out.exists() else 0
    process = start(given)
    while process.poll() is None:
        if out.exists() and out.read_bytes().count(b"\n") >= before + more_rows:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.01)
    return False


def test_queries_with_faults_and_two_kills(home: Path) -> None:
    label_under_fire(home, [kind for kind in MILD if kind not in ("429", "hang", "dribble")], queries=400, kills=2)


@pytest.mark.soak
def test_a_thousand_queries_with_faults_of_every_kind_and_five_kills(home: Path) -> None:
    label_under_fire(home, MILD, queries=1000, kills=5)


def label_under_fire(home: Path, faults: Sequence[str], queries: int, kills: int) -> None:
    texts = write_queries(home, queries)
    kinds = ["--kinds", *faults]
    with Server(home, "--fault-share", "0.2", "--hang-s", "2", *kinds) as server:
        given = arguments(home, server.url, "--workers", "8", "--timeout-s", "3")
        killed = [kill_after_rows(home, given, 150) for _ in range(kills)]
        last = start(given)
        assert last.wait(timeout=600) in (0, 1)
        charged = server.counters()["charged_nano"]
    assert all(killed)
    found = [row["text"] for row in rows(home)]
    failed = json.loads((home / ".out.jsonl.job" / "failed.json").read_text())
    assert len(set(found)) == len(found)
    assert len(found) + len(failed) == len(texts)
    assert len(failed) <= 20
    # A kill can cost the answers in flight: at most one for each of eight workers.
    dearest = 8 * kills * cost("claude-haiku-5-5", Usage(1000, 20))
    assert 0 <= charged - ledger_nano(home) <= dearest < 0.01 * 1e9


@pytest.mark.parametrize("moment", ["create", "poll", "results"])
def test_a_batch_survives_a_kill_at_any_moment(home: Path, moment: str) -> None:
    write_queries(home, 40)
    drop = ["--drop-create-response"] if moment == "create" else []
    with Server(home, "--batch-delay-s", "0.5", *drop) as server:
        given = arguments(home, server.url, "--mode", "batch", "--batch-size", "20")
        process = start(given)
        batches = home / ".out.jsonl.job" / "batches.json"
        while process.poll() is None:
            stored = json.loads(batches.read_text()) if batches.exists() else []
            sent = any(batch["sent"] for batch in stored)
            named = any(batch["id"] for batch in stored)
            # One answer comes before the batches, by a call: a kill may cost it.
            answered = sum(server.counters()["answers"].values()) > 1
            if {"create": sent, "poll": named, "results": answered}[moment]:
                break
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert start(given).wait(timeout=60) == 0
        counters = server.counters()
    found = [row["text"] for row in rows(home)]
    assert len(set(found)) == len(found) == 40
    assert counters["batches_created"] == 2
    assert max(counters["answers"].values()) == 1
    assert ledger_nano(home) == counters["charged_nano"]


def test_rows_that_failed_in_a_batch_go_into_the_next(home: Path) -> None:
    texts = write_queries(home, 40)
    kinds = ["errored", "expired", "canceled", "max_tokens", "odd-case", "wrong-label"]
    with FakeAPI(fence="query", fault_share=0.3, kinds=kinds, batch_delay_s=0.05) as api:
        assert labelling.main(arguments(home, api.url, "--mode", "batch")) in (0, 1)
        assert ledger_nano(home) == api.charged_nano
        assert 2 <= api.batches_created <= 4
    failed = json.loads((home / ".out.jsonl.job" / "failed.json").read_text())
    assert len(rows(home)) + len(failed) == len(texts)


def test_a_lost_reply_to_create_is_looked_up_not_repeated(home: Path) -> None:
    write_queries(home, 10)
    with FakeAPI(fence="query", drop_create_response=True, batch_delay_s=0.05) as api:
        assert labelling.main(arguments(home, api.url, "--mode", "batch")) == 0
        assert api.batches_created == 1
    assert len(rows(home)) == 10


def test_any_callable_labels_by_name(home: Path) -> None:
    write_queries(home, 3)
    given = [f"{home}/queries.jsonl", "--taxonomy", f"{home}/taxonomy.toml", "--out", f"{home}/out.jsonl"]
    assert labelling.main([*given, "--teacher", "python:tests.inference.test_teacher:shout"]) == 0
    assert [row["label"] for row in rows(home)] == ["tickets"] * 3
    assert labelling.main([*given, "--teacher", "python:tests.inference.test_teacher:shout", "--mode", "batch"]) == 2


def test_unreachable_disk_is_one_clear_line(home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 2)
    (home / "file").write_text("")
    assert labelling.main([*arguments(home, api.url), "--out", f"{home}/file/out.jsonl"]) == 2
    assert "error:" in capsys.readouterr().err


def test_the_output_is_never_the_input(home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 3)
    before = (home / "queries.jsonl").read_bytes()
    assert labelling.main([*arguments(home, api.url), "--out", f"{home}/./queries.jsonl"]) == 2
    assert "is the file of queries itself" in capsys.readouterr().err
    assert (home / "queries.jsonl").read_bytes() == before


def test_a_run_that_labels_nothing_says_so_and_exits_with_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_queries(home, 3)
    with FakeAPI(fence="query", faults=lambda query, attempt: "refusal") as api:
        for _ in range(2):  # the second time there is nothing to ask
            assert labelling.main(arguments(home, api.url)) == 1
            assert "no query was labelled" in capsys.readouterr().err
    assert len(rows(home)) == 3


def test_an_output_whose_books_are_gone_is_told_as_it_is(
    home: Path, api: FakeAPI, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 3)
    assert labelling.main(arguments(home, api.url)) == 0
    shutil.rmtree(home / ".out.jsonl.job")
    assert labelling.main(arguments(home, api.url)) == 0
    assert capsys.readouterr().out.count("labelled        3") == 2


def test_second_opinions_that_cannot_be_chosen_fail_before_anything_is_paid(
    home: Path, api: FakeAPI, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 3)
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    assert labelling.main([*arguments(home, api.url), "--second-opinion"]) == 2
    assert "cleanlab" in capsys.readouterr().err
    assert not api.calls


@pytest.mark.parametrize("count", [1, 3])
def test_labels_that_give_no_reason_to_doubt_get_no_second_opinion(
    home: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 3)
    with FakeAPI(fence="query", answer=lambda query, labels: labels[int(query.split()[2]) % count]) as api:
        assert labelling.main([*arguments(home, api.url), "--second-opinion"]) == 0
        assert sum(api.attempts.values()) == 3
    assert "second opinion  0 training rows" in capsys.readouterr().out


def test_a_users_columns_are_carried_whatever_their_names(home: Path, api: FakeAPI) -> None:
    mine = {"text": "hello there", "time": "noon", "usage": "heavy", "query": 7, "cost_usd": "much", "labeler": "Ann"}
    (home / "queries.jsonl").write_text(json.dumps(mine) + "\n")
    assert labelling.main(arguments(home, api.url)) == 0
    assert mine.items() <= rows(home)[0].items()
