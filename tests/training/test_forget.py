import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.cache.memory import Entry
from inference.cache.shared import RedisCache
from inference.common.commands import BUSY, FAILED
from inference.common.locks import take_lock
from inference.common.text import Forgotten, query_form
from inference.log.decision_log import DecisionLog
from inference.log.spill import Spill
from inference.money.ledger import Ledger
from tests.logged import answer, correction, decision, wait_until
from tests.services import redis_server
from tests.training.test_refresh import Traffic, fresh
from training import forget, label, refresh
from training.data.rows import text_key
from training.lifecycle import live
from training.lifecycle.forgetting import Places
from training.lifecycle.forgetting import forget as forget_in

SECRET = "my neighbour Ottokar wants Zebrafinch back"
OTHER = "somebody else wants Zebrafinch back"
TEACHER = "python:tests.training.test_forget:teach"


def teach(text: str) -> str:
    return "not an intent: " + text if "Ottokar" in text and "twice" in text else "account"


def bytes_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A model's folder before its first version, with traffic and labels that hold the secret."""
    home = tmp_path / "models" / "tiny"
    traffic = Traffic(home / "decisions.db")
    traffic.add([{"text": SECRET, "label": "account"}, {"text": OTHER, "label": "account"}], True, answered=False)
    traffic.add(fresh(5, 1), sampled=True)
    return home


@pytest.fixture
def again(home: Path, tiny_data: Path) -> list[str]:
    """What refreshes the model; too little for a training run, so it ends with the rows kept."""
    places = ["--models", str(home.parent), "--name", "tiny", "--taxonomy", str(tiny_data / "taxonomy.toml")]
    return [*places, "--no-data", "--teacher", TEACHER, "--least-new", "1"]


def command(home: Path, *more: str) -> list[str]:
    return ["--models", str(home.parent), "--name", home.name, "--text", SECRET, *more]


def test_a_text_is_gone_from_every_file_and_redis_and_nothing_else_is(
    home: Path, again: list[str], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh.main(again) == 0
    before = {row.identity: row for row in live.read_live(home)}
    assert {SECRET, OTHER} <= {row.text for row in before.values()}
    with contextlib.closing(DecisionLog(home / "decisions.db")) as log:
        for row in (answer("later", text=SECRET), correction("later", text=SECRET.upper()), decision("o", text=OTHER)):
            log.put(row)
    dead = Spill(home / "spill")
    dead.append([answer("spilled", text=f" {SECRET}"), answer("spilled", text=OTHER)])
    dead.close()
    composed = home / ".refresh" / "data" / "train.jsonl"  # what versions before 0.3.0 left
    composed.parent.mkdir(parents=True)
    composed.write_text("".join(json.dumps({"text": row.text}) + "\n" for row in before.values()))
    queries = tmp_path / "base" / "queries.jsonl"
    queries.parent.mkdir()
    queries.write_text("".join(json.dumps({"text": text}) + "\n" for text in (OTHER, SECRET)))
    out = tmp_path / "models" / "labelled.jsonl"
    taxonomy = ["--taxonomy", str(tiny_data / "taxonomy.toml")]
    assert label.main([str(queries), *taxonomy, "--teacher", TEACHER, "--out", str(out), "--yes"]) == 0
    capsys.readouterr()
    with redis_server() as server, contextlib.closing(RedisCache(server.url, "monoku:p", timeout_ms=1000)) as cache:
        wait_until(lambda: cache.up)
        for text in (SECRET, OTHER):
            cache.put(text, Entry("account", None, "teacher", None))
        more = ["--labelled", str(out), "--redis", server.url, "--data", str(queries.parent)]
        assert forget.main(command(home, *more)) == 0
        assert cache.get(SECRET, None) is None
        assert cache.get(OTHER, None) is not None
    said = capsys.readouterr().out
    for place in (
        "decisions.db",
        "Redis",
        "live.jsonl",
        "tiny/labelled.jsonl",
        "models/labelled.jsonl",
        ".refresh/data",
    ):
        assert place in said
    assert f"still in base data, delete it there: {queries}:2" in said
    assert SECRET in queries.read_text()
    kept = bytes_under(home.parent)
    assert b"Ottokar" not in kept
    assert b"OTTOKAR" not in kept
    for file in (out, home / "labelled.jsonl"):
        assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == [OTHER]
    after = {row.identity: row for row in live.read_live(home)}
    assert after.keys() == before.keys()
    (marked,) = [row for row in after.values() if row.split == live.FORGOTTEN]
    assert (marked.text, marked.label, marked.number) == ("", "", before[marked.identity].number)
    assert [row for row in after.values() if row != marked] == [row for row in before.values() if row.key != marked.key]
    assert marked not in live.in_use(after.values())
    assert forget.main(command(home)) == 0
    assert capsys.readouterr().out == "nothing was found\n"


def test_a_refresh_goes_on_and_takes_no_forgotten_text_again(home: Path, again: list[str]) -> None:
    assert refresh.main(again) == 0
    assert forget.main(command(home)) == 0
    Traffic(home / "decisions.db").add([{"text": SECRET, "label": "account"}, *fresh(9, 1)[5:]], sampled=True)
    assert refresh.main(again) == 0
    rows = live.read_live(home)
    assert sum(row.split == live.FORGOTTEN for row in rows) == 1
    assert SECRET not in {row.text for row in rows}
    assert OTHER in {row.text for row in rows}
    assert len(rows) == 1 + 1 + 9
    assert b"Ottokar" not in (home / "live.jsonl").read_bytes()


def test_what_a_label_cost_stays_counted_and_a_refusal_that_quotes_the_text_goes(tmp_path: Path) -> None:
    job = tmp_path / ".labelled.jsonl.job"
    job.mkdir()
    (tmp_path / "labelled.jsonl").write_text(json.dumps({"text": OTHER}) + "\n" + json.dumps({"text": SECRET}) + "\n")
    ids = {text: text_key(text) for text in (SECRET, OTHER)}
    (job / "failed.json").write_text(json.dumps({ids[SECRET]: f"bad: {SECRET}", ids[OTHER]: "kept"}))
    with contextlib.closing(Ledger(job / "spend.db", period="ever")) as ledger:
        bodies = [
            (text[:2], json.dumps({"query": ids[text], "refusal": f"no: {text}", "nano": 7}))
            for text in (SECRET, OTHER)
        ]
        ledger.settle(ledger.reserve(10), 14, bodies)
    found = forget_in(Places(tmp_path), Forgotten(SECRET))
    assert not found.errors
    assert b"Ottokar" not in bytes_under(tmp_path)
    with contextlib.closing(Ledger(job / "spend.db", period="ever")) as ledger:
        assert ledger.spent().measured == 14
        kept = {name: json.loads(body) for name, body in ledger.receipts()}
    assert (kept["my"]["refusal"], kept["my"]["nano"], kept["so"]["refusal"]) == ("forgotten", 7, f"no: {OTHER}")
    assert json.loads((job / "failed.json").read_text()) == {ids[OTHER]: "kept"}


TEXTS = st.text(min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(text=TEXTS.filter(query_form), others=st.lists(TEXTS, max_size=5))
def test_live_rows_and_labels_lose_that_text_and_none_with_another_key(
    text: str, others: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("model")
    texts = {text_key(one): one for one in (text, *others)}
    live.write_live(home, [live.LiveRow(k, one, "account", "t", "p", "test", 1, 1.0) for k, one in texts.items()])
    (home / "labelled.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in texts.values()))
    assert not forget_in(Places(home), Forgotten(text)).errors
    kept = [one for key, one in texts.items() if key != text_key(text)]
    rows = live.read_live(home)
    assert [row.text for row in live.in_use(rows)] == kept
    assert [row.key for row in rows] == list(texts)
    assert [json.loads(line)["text"] for line in (home / "labelled.jsonl").read_text().splitlines()] == kept


def test_a_place_that_fails_is_told_and_the_others_are_done(
    home: Path, again: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh.main(again) == 0
    assert forget.main(command(home, "--redis", "redis://127.0.0.1:1/0")) == FAILED
    assert "error: Redis: the cache in Redis did not answer" in capsys.readouterr().err
    assert b"Ottokar" not in (home / "live.jsonl").read_bytes()


def test_a_refresh_at_work_and_places_that_are_none_are_told(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with take_lock(home / ".refresh.lock", "held by a test"):
        assert forget.main(command(home)) == BUSY
    for more in (["--log", str(tmp_path / "none.db")], ["--labelled", str(tmp_path / "none")], ["--name", "nobody"]):
        assert forget.main(command(home, *more)) == FAILED
    said = capsys.readouterr().err
    for part in ("there is no decision log at", "no such file", "there is no model at"):
        assert part in said
    assert not (tmp_path / "none.db").exists()


def test_rows_that_wait_elsewhere_are_forgotten_too(home: Path, tmp_path: Path) -> None:
    dead = Spill(tmp_path / "waiting")
    dead.append([answer("spilled", text=SECRET)])
    dead.close()
    assert forget.main(command(home, "--spill", str(tmp_path / "waiting"))) == 0
    assert SECRET.encode() not in bytes_under(tmp_path / "waiting")


def test_the_text_may_come_from_the_standard_input(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SECRET}\n"))
    assert forget.main(["--models", str(home.parent), "--name", "tiny", "--stdin"]) == 0
    assert "deleted      1 in" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    assert forget.main(["--models", str(home.parent), "--name", "tiny", "--stdin"]) == FAILED
    assert "the text to forget must not be empty" in capsys.readouterr().err
