import json
import subprocess
import sys
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Rule
from inference.classify import main
from tests.ruled import add_rules


def run(home: Path, *arguments: str, given: bytes = b"") -> tuple[int, list[dict[str, object]], str]:
    command = [sys.executable, "-m", "inference.classify", "--bundle", str(home), *arguments]
    done = subprocess.run(command, input=given, capture_output=True)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_one_text_prints_one_line(tiny_home: Path) -> None:
    status, answers, _ = run(tiny_home, "refund the invoice")
    assert status == 0
    assert len(answers) == 1
    assert {"text", "intent", "confidence", "accepted", "source"} <= set(answers[0])


def test_the_source_that_is_printed_is_the_true_one(tiny_home: Path, tmp_path: Path) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))
    status, answers, _ = run(home, "--jsonl", given=b"stop the zebra\nfind the zebra")
    assert status == 0
    assert [answer["source"] for answer in answers] == ["rules", "student"]
    assert answers[0] == {
        "text": "stop the zebra",
        "intent": "account",
        "confidence": 0.96,
        "accepted": True,
        "source": "rules",
        "alternatives": {},
    }


def test_lines_keep_order_and_fields_and_bad_ones_are_named(tiny_home: Path) -> None:
    given = b"\n".join(
        [
            b'{"id": 7, "text": "refund the invoice", "nested": {"a": [1]}}',
            "plain text, ünïcödé".encode(),
            b'{"id": 8}',
            b"\xff\xfe",
            b'{"text": "broken',
            b'{"text": 5}',
            b'{"text": "\\ud83d alone"}',
            b"",
            b'{"text": "last"}',
        ]
    )
    status, answers, complaint = run(tiny_home, "--jsonl", given=given)
    assert status == 1
    assert "4 lines could not be read" in complaint
    assert len(answers) == 9
    assert (answers[0]["id"], answers[0]["nested"]) == (7, {"a": [1]})
    assert answers[1]["text"] == "plain text, ünïcödé"
    assert [answer.get("line") for answer in answers] == [None, None, 3, 4, 5, 6, None, None, None]
    assert all(("intent" in answer) != ("error" in answer) for answer in answers)


def test_input_fields_that_are_named_as_an_answers_are_kept(tiny_home: Path) -> None:
    lines = [{"text": "refund the invoice", "intent": "account", "source": "mail", "given": 3, "n": 1}]
    lines += [{"text": "refund the invoice", "given": 3}]
    status, answers, _ = run(tiny_home, "--jsonl", given="\n".join(map(json.dumps, lines)).encode())
    assert status == 0
    assert answers[0]["given"] == {"intent": "account", "source": "mail", "given": 3}
    assert (answers[0]["intent"], answers[0]["source"], answers[0]["n"]) == ("payments", "student", 1)
    assert answers[1]["given"] == 3


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tiny_home: Path) -> None:
    lines = ['\ufeff{"id": 7, "text": "refund the invoice"}', "refund\u2028the invoice", '{"text": "x", "n": NaN}']
    status, answers, _ = run(tiny_home, "--jsonl", given="\r\n".join(lines).encode())
    assert status == 1
    assert (answers[0]["id"], answers[0]["intent"]) == (7, "payments")
    assert answers[1]["text"] == "refund\u2028the invoice"
    assert answers[2] == {"line": 3, "error": "not valid JSON: NaN is not allowed; write null"}


def test_answers_stream(tiny_home: Path) -> None:
    command = [sys.executable, "-m", "inference.classify", "--bundle", str(tiny_home), "--jsonl"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("first", "second"):
            process.stdin.write(text.encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["text"] == text
        process.stdin.close()
        assert process.wait() == 0


def test_a_reader_that_leaves_is_no_error(tiny_home: Path) -> None:
    command = f"yes hello | head -2000 | {sys.executable} -m inference.classify --bundle {tiny_home} --jsonl | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_bundle_that_cannot_be_served_gives_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--bundle", str(tmp_path), "hi"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_text_and_a_stream_exclude_each_other(tiny_home: Path) -> None:
    for arguments in ([], ["hi", "--jsonl"]):
        with pytest.raises(SystemExit, match="2"):
            main(["--bundle", str(tiny_home), *arguments])
