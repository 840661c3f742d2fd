import json
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from inference.bundle.manifest import resolve
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from inference.common.commands import BUSY, FAILED, KEPT
from inference.common.locks import Busy, take_lock
from inference.log.decision_log import Correction, Decision, DecisionLog, TeacherAnswer
from tests.tiny import TINY_DIALS, fail_on_a_full_disk, tiny_rows
from training import refresh
from training.data.dataset import Dataset
from training.lifecycle import traffic as live
from training.lifecycle import versions


class Traffic:
    """A decision log as a cascade leaves it, over texts of the tiny data's kind that are in no file."""

    def __init__(self, path: Path, label_of: Callable[[str, str], str] = lambda text, label: label) -> None:
        self.path, self.label_of = path, label_of
        self.number, self.name = 0, uuid.uuid4().hex

    def add(self, rows: Sequence[dict[str, str]], sampled: bool = False, bundle: str | None = "b", **more: Any) -> None:
        log = DecisionLog(self.path)
        for row in rows:
            self.number += 1
            request, now = f"{self.name}-{self.number}", time.time()
            answered = more.get("answered", True)
            source = "teacher" if answered else "fallback"
            log.put(
                Decision(
                    request, now, row["text"], row["label"], 0.5, answered, source, False, True, sampled, bundle, 1.0
                )
            )
            if answered:
                label = self.label_of(row["text"], row["label"])
                said = (request, now, row["text"], "python:t", "prompt-1", label, None, {}, 0.001, 1.0, sampled)
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
    return [*places, *TINY_DIALS, "--epochs", "4", "--name", "tiny", *policy, *more]


@pytest.fixture
def start(tiny_data: Path, tiny_base: Path, tmp_path: Path) -> Callable[..., list[str]]:
    return lambda *more: command(tiny_data, tiny_base, tmp_path, *more)


@pytest.fixture(scope="session")
def first_round(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log and models in which one round was published."""
    place = tmp_path_factory.mktemp("first")
    Traffic(place / "log.db").add(fresh(60, 1))
    assert refresh.main(command(tiny_data, tiny_base, place)) == 0
    return place


@pytest.fixture
def after_a_round(first_round: Path, tmp_path: Path) -> Path:
    shutil.copytree(first_round, tmp_path, dirs_exist_ok=True)
    return tmp_path / "models" / "tiny"


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
    assert all(kept[row["text"]].split != "train" for row in fresh(100, 2)[:40])
    before = resolve(home).name
    assert refresh.main(start()) == 0  # nothing new, nothing done
    assert "nothing new" in capsys.readouterr().out
    assert resolve(home).name == before
    assert len(versions.versions(home)) == 1


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


def test_a_dropped_round_neither_trains_nor_judges_and_is_not_collected_again(
    start: Callable[..., list[str]], after_a_round: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = after_a_round
    (row,) = fresh(300, 3)[-1:]
    log = DecisionLog(tmp_path / "log.db")
    log.put(Correction("r", time.time(), f"{row['text']} indeed", row["label"]))
    log.close()
    Traffic(tmp_path / "log.db", lambda text, label: "unknown").add(fresh(300, 3), sampled=True)
    assert refresh.main(start()) == KEPT
    wrong = [row for row in live.read_live(home) if row.round == 2 and row.labeler != "human"]
    capsys.readouterr()
    assert refresh.main(start("--drop-round", "2")) == 0
    assert f"{len(wrong)} labels of round 2" in capsys.readouterr().out
    assert {row.labeler for row in live.in_use(live.read_live(home)) if row.round == 2} == {"human"}
    assert refresh.main(start("--drop-round", "2")) == FAILED
    Traffic(tmp_path / "log.db").add(fresh(400, 5)[300:])
    refresh.main(start())
    used = (home / ".refresh" / "data").glob("*.jsonl")
    texts = {json.loads(line)["text"] for path in used for line in path.read_text().splitlines()}
    assert len(texts) > 400
    assert not texts & {row.text for row in wrong}
    assert len(live.read_live(home)) - len(live.in_use(live.read_live(home))) == len(wrong)


def test_labels_of_a_suspect_round_do_not_judge_the_next() -> None:
    rows = [live.LiveRow(f"k{i}", f"text {i}", "account", "t", "p", "test", i, 0.0) for i in range(1, 6)]
    assert {row.text for row in live.held_out(None, rows, 5, suspect=[2, 4])} == {"text 1", "text 3"}


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
    (answers,) = manifest.teacher["models"].values()
    assert manifest.teacher == {"models": {"python:t": answers}, "prompt_ids": {"prompt-1": answers}}


def test_base_data_may_lack_intents_that_traffic_brings(
    start: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "taxonomy.toml").write_text(Taxonomy.of(["payments", "account", "unknown"]).to_toml())
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


def test_the_sample_never_trains_and_never_mixes_with_base_data_in_judging(tmp_path: Path, tiny_data: Path) -> None:
    from training import dataset

    base: Dataset = dataset.load(str(tiny_data), fallback=tmp_path)
    Traffic(tmp_path / "log.db").add(fresh(400, 9), sampled=True)
    found = live.harvest(DecisionLog(tmp_path / "log.db"), [], 0.0, time.time() + 1, 1, "salt")
    assert not any(row.split == "train" for row in found.rows)
    for least, judged_by in ((10_000, {"author"}), (50, {"python:t"})):
        folder = tmp_path / str(least)
        live.compose(base, found.rows, folder, least, 0.0, 1.0)
        rows = [json.loads(line) for line in (folder / "calibration.jsonl").read_text().splitlines()]
        assert {row["labeler"] for row in rows} == judged_by


def test_repeated_sampled_requests_count_again(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path / "log.db")
    traffic.add([{"text": "again and again", "label": "account"}] * 3, sampled=True)
    log = DecisionLog(tmp_path / "log.db")
    (row,) = live.harvest(log, [], 0.0, time.time() + 1, 1, "salt").rows
    assert row.requests == 3
    traffic.add([{"text": "again and again", "label": "account"}] * 2, sampled=True)
    later = live.harvest(log, [row], 0.0, time.time() + 1, 2, "salt")
    assert not later.rows
    assert later.repeats[row.key] == 5  # of the whole period that was read


def test_an_outage_does_not_select_which_part_of_the_sample_judges(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "log.db")
    for number, source in enumerate(("student", "fallback")):
        accepted = source == "student"
        guess = ("account", 0.9, accepted, source, False, not accepted)
        log.put(Decision(f"o{number}", time.time(), f"outage {number}", *guess, True, "b", 1.0))
    log.close()
    found = live.harvest(log, [], 0.0, time.time() + 1, 1, "salt")
    assert found.unanswered == {"outage 0": True, "outage 1": True}


def test_rows_that_reach_the_log_late_are_found(tmp_path: Path) -> None:
    Traffic(tmp_path / "log.db").add([{"text": "late", "label": "account"}])
    found = live.harvest(DecisionLog(tmp_path / "log.db"), [], time.time() + 60, time.time() + 120, 2, "salt")
    assert [row.text for row in found.rows] == ["late"]


def test_what_a_student_was_trained_on_does_not_judge_it(tmp_path: Path, tiny_data: Path) -> None:
    from training import dataset

    base = dataset.load(str(tiny_data), fallback=tmp_path)
    seen = base.split("test")[0]
    row = live.LiveRow(seen.key, seen.text, seen.label, "t", "p", "train", 1, 0.0)
    assert seen.key not in {item.key for item in live.held_out(base, [row], 2)}


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
    program = [sys.executable, "-m", "training.refresh", *start(*teacher)]
    _kill_when(program, home, tmp_path, sign)
    assert versions.serving(home) in (champion, versions.versions(home)[-1])
    Classifier.load(home).predict("is it there")
    done = subprocess.run(program, capture_output=True, text=True, env=_environment(asked))
    assert done.returncode in (0, KEPT), done.stdout + done.stderr
    texts = asked.read_text().splitlines()
    assert len(texts) == len(set(texts))
    assert len({row.key for row in live.read_live(home)}) == len(live.read_live(home))


def teach_and_note(text: str) -> str:
    import os

    with open(os.environ["MONOKU_TEST_ASKED"], "a") as file:
        file.write(text + "\n")
    return teach(text)


def _environment(asked: Path) -> dict[str, str]:
    import os

    return {**os.environ, "MONOKU_TEST_ASKED": str(asked)}


def _kill_when(command: list[str], home: Path, tmp_path: Path, sign: str) -> None:
    log = tmp_path / "output"
    rows = (home / "live.jsonl").read_bytes()
    asked = _environment(tmp_path / "asked.txt")
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, env=asked) as process:
        until = time.monotonic() + 120
        while process.poll() is None:
            found = (home / "live.jsonl").read_bytes() != rows if sign == "live.jsonl" else sign in log.read_text()
            if found:
                break
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.005)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGKILL)


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
