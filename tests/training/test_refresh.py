import json
import random
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.bundle import trial, versions
from inference.bundle.manifest import Bundle, resolve
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from inference.common.commands import BUSY, FAILED, KEPT, SOME_FAILED
from inference.common.locks import Busy, take_lock
from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from inference.log.marks import KIND, Alarm
from tests.programs import Program
from tests.tiny import TAXONOMY, TINY_SETTINGS, fail_on_a_full_disk, tiny_rows
from training import change, publish, refresh
from training.data.rows import text_key
from training.lifecycle import live
from training.lifecycle.gate import Verdict


class Traffic:
    """A decision log as a cascade leaves it, over texts of the tiny data's kind that are in no file.

    With `sampled` all requests are of the sample; with no `bundle`, on day zero, chance decides.
    """

    def __init__(
        self, path: Path, label_of: Callable[[str, str], str] = lambda text, label: label, teacher: str = "python:t"
    ) -> None:
        self.path, self.label_of, self.teacher = path, label_of, teacher
        self.draw = random.Random(uuid.uuid4().hex)  # equal numbers would be retries of one request

    def add(self, rows: Sequence[dict[str, str]], sampled: bool = False, bundle: str | None = "b", **more: Any) -> None:
        log, question = DecisionLog(self.path), TAXONOMY.question_id()
        for row in rows:
            request, now = uuid.uuid4().hex, more.get("time", time.time())
            answered = more.get("answered", True)
            source = "teacher" if answered else "fallback"
            rate = 0.01 if bundle else 0.45
            number = self.draw.random() * (rate if sampled else 1.0)
            judges = number < rate and (sampled or not bundle)
            guess = (row["label"], 0.5, answered, source, False, True, judges, bundle, 1.0, None)
            log.put(
                Decision(
                    request, now, row["text"], *guess, None, number, rate, f"{bundle} {rate}", "prompt-1", question
                )
            )
            if answered:
                label = self.label_of(row["text"], row["label"])
                said = (
                    request,
                    now,
                    row["text"],
                    self.teacher,
                    "prompt-1",
                    label,
                    None,
                    {},
                    0.001,
                    1.0,
                    judges,
                    question,
                )
                log.put(TeacherAnswer(*said))
        log.close()


def fresh(count: int, seed: int) -> list[dict[str, str]]:
    """Distinct rows of the tiny kind with another tail, so that they repeat none of the base data."""
    rows = [{**row, "text": f"{row['text']} {word}"} for row in tiny_rows() for word in ("ok", "soon", "thanks", "now")]
    random.Random(seed).shuffle(rows)
    return rows[:count]


def command(data: Path, base: Path, place: Path, *more: str) -> list[str]:
    places = ["--data", str(data), "--base", str(base), "--models", str(place / "models")]
    policy = ["--log", str(place / "log.db"), "--target", "0.9"]
    return [*places, *TINY_SETTINGS, "--epochs", "4", "--name", "tiny", *policy, *more]


@pytest.fixture
def start(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """Flags of a refresh whose base data nobody has looked at."""
    shutil.copytree(tiny_data, tmp_path / "base", dirs_exist_ok=True)
    return lambda *more: command(tmp_path / "base", tiny_base, tmp_path, *more)


@pytest.fixture(scope="session")
def first_round(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log and models in which one round was published."""
    place = tmp_path_factory.mktemp("first")
    Traffic(place / "log.db").add(fresh(60, 1))
    shutil.copytree(tiny_data, place / "base")
    assert refresh.main(command(place / "base", tiny_base, place)) == 0
    return place


@pytest.fixture
def after_a_round(first_round: Path, start: object, tmp_path: Path) -> Path:
    shutil.copytree(first_round, tmp_path, dirs_exist_ok=True)
    return tmp_path / "models" / "tiny"


@pytest.mark.soak
def test_a_version_that_passes_goes_on_trial_where_that_is_asked_for_and_is_promoted_by_hand(
    start: Callable[..., list[str]], tmp_path: Path, after_a_round: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, before = after_a_round, resolve(after_a_round).name
    monkeypatch.setattr("training.lifecycle.round.compare", lambda *rows: Verdict(True, (), {}))
    Traffic(tmp_path / "log.db").add(fresh(120, 3)[60:])
    assert refresh.main(start("--shadow")) == 0
    assert resolve(home).name == before
    tried = trial.on_trial(home)
    assert tried is not None
    assert (tried.version > before, tried.beside, tried.share) == (True, before, 0.0)
    assert publish.main(["--models", str(home.parent), "--name", home.name, "--promote", tried.version]) == 0
    assert resolve(home).name == tried.version


def test_a_round_trains_on_what_was_deferred_and_publishes(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "models" / "tiny"
    traffic = Traffic(tmp_path / "log.db")
    traffic.add(fresh(80, 1))
    traffic.add(fresh(100, 2)[:40], sampled=True)
    assert refresh.main(start("--json")) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["outcome"], summary["round"]) == ("published", 1)
    rows = live.read_live(home)
    kept = {row.text: row for row in rows}
    sampled = {row["text"] for row in fresh(100, 2)[:40]}
    assert {kept[row["text"]].split for row in fresh(80, 1) if row["text"] not in sampled} == {"train"}
    judges = [row for row in rows if row.request]
    assert sorted(row.text for row in judges) == sorted(sampled)
    assert not any(row.split == "train" for row in judges)
    before = resolve(home).name
    assert refresh.main(start()) == 0  # nothing new, nothing done
    assert "nothing new" in capsys.readouterr().out
    assert resolve(home).name == before
    assert len(versions.versions(home)) == 1


@pytest.mark.soak
def test_after_an_alarm_a_round_does_not_wait_for_more_rows_and_says_so(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Traffic(tmp_path / "log.db").add(fresh(100, 2)[60:65])
    assert refresh.main(start()) == 0
    assert "are too few" in capsys.readouterr().out
    log = DecisionLog(tmp_path / "log.db")
    log.note(KIND, Alarm(time.time() - 60, TAXONOMY.question_id(), 0.9, 0.95).key)
    log.close()
    assert refresh.main(start()) in (0, KEPT)
    out = capsys.readouterr().out
    assert "this round goes first" in out
    assert "are too few" not in out


def test_a_poisoned_round_is_kept_back_with_its_reasons(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = after_a_round
    champion = versions.serving(home)
    flipped = {"payments": "account", "account": "payments", "unknown": "unknown"}
    Traffic(tmp_path / "log.db", lambda text, label: flipped[label]).add(fresh(900, 3))
    assert refresh.main(start("--human-weight", "1")) == KEPT
    assert versions.serving(home) == champion
    rejected = versions.versions(home)[-1]
    assert rejected != champion
    assert versions.reasons(home, rejected)
    assert "not published" in capsys.readouterr().out
    assert json.loads((home / "refresh.json").read_text())["suspect"] == [2]
    assert refresh.main(start()) == 0  # a rejected round is over: it is not tried again without anything new
    assert len(versions.versions(home)) == 2


def test_a_dropped_round_neither_trains_nor_judges_until_it_is_answered_anew(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = after_a_round
    (row,) = fresh(300, 3)[-1:]
    log = DecisionLog(tmp_path / "log.db")
    log.put(Correction("r", time.time(), f"{row['text']} indeed", row["label"]))
    log.close()
    wrong = Traffic(tmp_path / "log.db", lambda text, label: "unknown")
    wrong.add(fresh(300, 3)[:250])
    wrong.add(fresh(300, 3)[250:], sampled=True)
    assert refresh.main(start()) == KEPT
    dropped = [row for row in live.read_live(home) if row.round == 2 and not row.human]
    capsys.readouterr()
    assert refresh.main(start("--drop-round", "2")) == 0
    assert f"{len(dropped)} labels of round 2" in capsys.readouterr().out
    used = [row for row in live.in_use(live.read_live(home)) if row.round == 2 and row.label]
    assert {row.labeler for row in used} == {"human"}
    assert refresh.main(start("--drop-round", "2")) == FAILED
    Traffic(tmp_path / "log.db").add(fresh(300, 3)[:100])  # a mended teacher answers some of them again
    refresh.main(start("--teacher", "python:tests.training.test_refresh:teach"))
    rows = live.in_use(live.read_live(home))
    assert {row.label for row in rows if row.key in {text_key(row["text"]) for row in fresh(300, 3)[:100]}} > {
        "unknown"
    }
    again = [row for row in rows if row.request]
    assert len(again) == 50
    assert all(row.label == teach(row.text) and row.round == 3 for row in again)


def test_corrections_go_to_train_and_win(start: Callable[..., list[str]], tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.db")
    for row in fresh(60, 4):
        log.put(Correction("r", time.time(), row["text"], row["label"]))
    log.close()
    assert refresh.main(start()) == 0
    rows = live.read_live(tmp_path / "models" / "tiny")
    assert {(row.labeler, row.split) for row in rows} == {("human", "train")}


def teach(text: str) -> str:
    return next((row["label"] for row in tiny_rows() if text.startswith(row["text"])), "unknown")


def test_fallbacks_without_an_answer_are_labelled_once(start: Callable[..., list[str]], tmp_path: Path) -> None:
    Traffic(tmp_path / "log.db").add(fresh(60, 5), answered=False)
    flags = ["--teacher", "python:tests.training.test_refresh:teach"]
    assert refresh.main(start(*flags, "--dry-run")) == 0
    assert not (tmp_path / "models" / "tiny" / "live.jsonl").exists()
    assert refresh.main(start(*flags)) == 0
    rows = live.read_live(tmp_path / "models" / "tiny")
    assert len(rows) == 60
    assert all(row.label == teach(row.text) and row.labeler.startswith("python:") for row in rows)


def test_a_file_of_queries_is_labelled_up_to_the_budget(start: Callable[..., list[str]], tmp_path: Path) -> None:
    texts = [row["text"] for row in fresh(100, 6)]
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    flags = [
        "--queries",
        str(tmp_path / "more.jsonl"),
        "--budget",
        "55",
        "--teacher",
        "python:tests.training.test_refresh:teach",
    ]
    Traffic(tmp_path / "log.db").add(fresh(101, 6)[100:])
    assert refresh.main(start(*flags)) == 0
    assert len(live.read_live(tmp_path / "models" / "tiny")) == 56


def test_day_zero_says_what_is_missing_then_trains_the_first_bundle(
    start: Callable[..., list[str]], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero = ["--no-data", "--taxonomy", str(tiny_data / "taxonomy.toml"), "--least-calibration", "100"]
    traffic = Traffic(tmp_path / "log.db")
    traffic.add(fresh(100, 7), bundle=None)
    assert refresh.main(start(*zero)) == 0
    assert "of 100 sampled requests" in capsys.readouterr().out
    assert versions.serving(tmp_path / "models" / "tiny") is None
    traffic.add(fresh(900, 8), bundle=None)
    assert refresh.main(start(*zero)) == 0
    manifest = Classifier.load(tmp_path / "models" / "tiny").bundle.manifest
    assert (manifest.reference, manifest.unit) == ("teacher", "requests")
    assert manifest.teacher is not None
    assert (manifest.teacher["models"].keys(), manifest.teacher["prompt_ids"].keys()) == ({"python:t"}, {"prompt-1"})


def test_base_data_may_lack_intents_that_traffic_brings(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "taxonomy.toml").write_text(TAXONOMY.to_toml())
    rows = [row for row in tiny_rows() if row["label"] == "account"][:5]
    (few / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    little = ["--data", str(few), "--least-calibration", "100"]
    traffic = Traffic(tmp_path / "log.db")
    traffic.add([row for row in fresh(200, 7) if row["label"] == "account"][:60])
    assert refresh.main([*start(), *little]) == 0
    said = capsys.readouterr().out
    assert "0 of 100 sampled requests" in said
    assert "no training row yet for payments, unknown" in said
    traffic.add(fresh(900, 8), bundle=None)
    assert refresh.main([*start(), *little]) == 0
    assert set(Classifier.load(tmp_path / "models" / "tiny").labels) == {"payments", "account", "unknown"}


def test_live_rows_under_another_taxonomy_are_left_out_aloud(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Traffic(tmp_path / "log.db").add(fresh(60, 7))
    (tmp_path / "edited.toml").write_text(Taxonomy.of(TAXONOMY.names).to_toml())  # by hand, and not by training.change
    edited = ["--no-data", "--taxonomy", str(tmp_path / "edited.toml")]
    assert refresh.main([*start(), *edited]) == 0
    assert "60 live rows under another taxonomy, left out: training.change" in capsys.readouterr().out


def teach_invoices(text: str) -> str:
    return "invoices" if "invoice" in text else {"account": "access"}.get(teach(text), teach(text))


def test_a_changed_taxonomy_takes_live_rows_along_and_publishes_through_the_gate(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home, new = after_a_round, tmp_path / "new"
    teacher = "python:tests.training.test_refresh:teach_invoices"
    Traffic(tmp_path / "log.db", teacher=teacher).add(fresh(1000, 2)[:200], sampled=True)
    refresh.main(start("--least-new", "300"))
    names = ["payments", "access", "unknown", "invoices", "orders"]
    (tmp_path / "new.toml").write_text(Taxonomy.of(names).to_toml())
    given = ["--data", str(tmp_path / "base"), "--taxonomy", str(tmp_path / "new.toml"), "--out", str(new)]
    change.main([*given, "--map", "account=access", "--among", "payments", "--yes", "--teacher", teacher])
    before = {row.identity: row for row in live.read_live(home)}
    capsys.readouterr()
    flags = ["--data", str(new), "--least-calibration", "50", "--least-new", "1", "--json", "--teacher", teacher]
    assert refresh.main(start(*flags, "--dry-run")) == 0
    asked = json.loads(capsys.readouterr().out.splitlines()[-1])["chosen"]["to be labelled"]
    assert 0 < asked < len(before) + 200  # among the payments alone
    assert refresh.main(start(*flags)) in (0, KEPT)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["labelled"] == asked
    rows = {row.identity: row for row in live.read_live(home)}
    assert rows.keys() >= before.keys()
    for row in rows.values():
        assert row.label == teach_invoices(row.text), row
        assert row.identity not in before or row.split == before[row.identity].split
    manifest = Bundle.load(home / summary["version"]).manifest
    assert (manifest.unit, set(manifest.labels)) == ("requests", set(names))
    assert manifest.never_accepted == ("orders",)  # no row of it came back
    assert {row.label for row in rows.values() if row.request} == set(names) - {"orders"}
    assert summary["figures"]["rows"]
    assert summary["figures"]["champion_accuracy"] > 0.5


def test_a_second_refresh_at_the_same_time_says_so(start: Callable[..., list[str]], tmp_path: Path) -> None:
    home = tmp_path / "models" / "tiny"
    with take_lock(home / ".refresh.lock", "held by a test"):
        assert refresh.main(start()) == BUSY
        with pytest.raises(Busy), take_lock(home / ".refresh.lock", "asked for again"):
            raise AssertionError("never reached")


@pytest.mark.parametrize("sign", ["live.jsonl", "[student]", "[calibrate]", "[publish]"])
def test_a_kill_at_any_stage_leaves_the_champion_serving_and_the_next_run_completes(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, sign: str
) -> None:
    home = after_a_round
    champion = versions.serving(home)
    asked = tmp_path / "asked.txt"
    Traffic(tmp_path / "log.db").add(fresh(200, 2)[:70], answered=False)
    teacher = ["--teacher", "python:tests.training.test_refresh:teach_and_note"]
    given, environment = start(*teacher), {"MONOKU_TEST_ASKED": str(asked)}
    _kill_when(given, environment, home, tmp_path / "output", sign)
    assert versions.serving(home) in (champion, versions.versions(home)[-1])
    Classifier.load(home).predict("is it there")
    status = Program("training.refresh", given, tmp_path / "output", environment).wait()
    assert status in (0, KEPT), (tmp_path / "output").read_text()
    texts = asked.read_text().splitlines()
    assert len(texts) == len(set(texts))
    assert len({row.key for row in live.read_live(home)}) == len(live.read_live(home))


def teach_and_note(text: str) -> str:
    import os

    with open(os.environ["MONOKU_TEST_ASKED"], "a") as file:
        file.write(text + "\n")
    return teach(text)


def _kill_when(given: list[str], environment: dict[str, str], home: Path, log: Path, sign: str) -> None:
    rows = (home / "live.jsonl").read_bytes()
    with Program("training.refresh", given, log, environment) as program:
        until = time.monotonic() + 120
        while not ((home / "live.jsonl").read_bytes() != rows if sign == "live.jsonl" else sign in log.read_text()):
            assert program.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.005)


def test_a_full_disk_is_named(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    Traffic(tmp_path / "log.db").add(fresh(200, 2)[:70])
    fail_on_a_full_disk(monkeypatch)
    assert refresh.main(start()) == FAILED
    assert f"error: no space left under {tmp_path}/models/tiny: free some" in capsys.readouterr().err


def test_bad_options_are_one_clear_line(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refresh.main(start("--no-data")) == FAILED
    assert "give --taxonomy" in capsys.readouterr().err
    (tmp_path / "models" / "tiny").mkdir(parents=True, exist_ok=True)
    (tmp_path / "models" / "tiny" / "live.jsonl").write_text("{")
    assert refresh.main(start()) == FAILED
    assert "live.jsonl:1: not valid JSON" in capsys.readouterr().err


def files(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("known", [False, True])
def test_a_dry_run_writes_nothing(start: Callable[..., list[str]], tmp_path: Path, known: bool, request: Any) -> None:
    if known:
        request.getfixturevalue("after_a_round")
    Traffic(tmp_path / "log.db").add(fresh(60, 5), answered=False)
    (tmp_path / "base" / "more.jsonl").write_text('{"text": "a new row", "label": "account"}\n')
    (tmp_path / "base" / "more.jsonl").rename(tmp_path / "base" / "train.jsonl")
    before = files(tmp_path)
    flags = ["--teacher", "python:tests.training.test_refresh:teach", "--dry-run"]
    assert refresh.main(start(*flags)) == 0
    assert files(tmp_path) == before
    assert (tmp_path / "models").exists() == known


@pytest.mark.parametrize("given", [True, False])
def test_no_log_yet_is_nothing_to_do(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: bool
) -> None:
    flags = start()
    if not given:
        del flags[flags.index("--log") : flags.index("--log") + 2]
    assert refresh.main(flags) == 0
    place = tmp_path / "log.db" if given else tmp_path / "models" / "tiny" / "decisions.db"
    assert f"there is no decision log yet at {place}" in capsys.readouterr().out
    assert not (tmp_path / "log.db").exists()


def test_a_clock_that_ran_ahead_is_noticed_and_loses_no_row(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = json.loads((after_a_round / "refresh.json").read_text())
    (after_a_round / "refresh.json").write_text(json.dumps(state | {"until": time.time() + 365 * 86400}))
    Traffic(tmp_path / "log.db").add(fresh(200, 2)[:70])
    new = {row["text"] for row in fresh(200, 2)[:70]} - {row["text"] for row in fresh(60, 1)}
    assert refresh.main(start("--json", "--dry-run")) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["chosen"]["deferred and answered"] == len(new)
    assert "a clock was wrong" in " ".join(summary["reasons"])


def test_another_model_is_never_refreshed_with_the_demo_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--name", "mine", "--models", str(tmp_path / "models"), "--dry-run"]
    assert refresh.main(flags) == FAILED
    assert "give --data with the base data of mine, or --no-data" in capsys.readouterr().err
    (tmp_path / "settings.toml").write_text(f'data = "{tmp_path}/none"')
    assert refresh.main([*flags, "--config", str(tmp_path / "settings.toml")]) == FAILED
    assert "no such file or folder" in capsys.readouterr().err


def test_a_round_whose_teacher_answers_nothing_says_why_and_exits_with_one(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Traffic(tmp_path / "log.db").add(fresh(3, 5), answered=False)
    (tmp_path / "answers.jsonl").write_text("")
    assert refresh.main(start("--teacher", f"recorded:{tmp_path}/answers.jsonl")) == SOME_FAILED
    assert "3 texts have no answer, most often: recorded:" in capsys.readouterr().out
