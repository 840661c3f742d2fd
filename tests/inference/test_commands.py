import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from inference.common.commands import BUSY, DONE, FAILED, STOPPED, FullDisk, command, naming_full_disk
from inference.common.errors import MonokuError
from inference.common.locks import Busy

INVALID = {
    "inference.classify": ["--bundle", "{no}", "hello"],
    "inference.serve": ["--bundle", "{no}"],
    "inference.bulk": ["--bundle", "{no}", "{no}", "--out", "{no}.jsonl"],
    "inference.report": ["--log", "{no}/log.db"],
    "inference.costs": ["--bundle", "{no}"],
    "training.train": ["--data", "{no}", "--models", "{no}"],
    "training.label": ["{no}", "--taxonomy", "{no}", "--out", "{no}/out.jsonl"],
    "training.refresh": ["--data", "{no}", "--models", "{no}"],
    "training.dataset": ["{no}"],
    "training.scan": ["{no}"],
    "training.change": ["--data", "{no}", "--taxonomy", "{no}", "--out", "{no}"],
    "training.publish": ["--models", "{no}", "--name", "x", "--rollback"],
}


def run(name: str, *given: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", name, *given], capture_output=True, text=True)


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_argument_is_one_line_and_status_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = __import__(name, fromlist=["main"])
    assert module.main([item.format(no=tmp_path / "none") for item in INVALID[name]]) == FAILED
    assert_one_line(capsys.readouterr().err)
    with pytest.raises(SystemExit, match="2"):
        module.main(["--no-such-flag"])
    assert_one_line(capsys.readouterr().err)


def assert_one_line(said: str) -> None:
    assert said.startswith("error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MonokuError("two\n  lines"), FAILED, "error: two lines"),
        (ValueError("not a number"), FAILED, "error: not a number"),
        (FileNotFoundError(2, "No such file", "a.toml"), FAILED, "error: [Errno 2] No such file: 'a.toml'"),
        (TimeoutError(), FAILED, "error: TimeoutError"),
        (Busy("another run is at work"), BUSY, "error: another run is at work"),
        (KeyboardInterrupt(), STOPPED, "stopped; run the same command again to go on"),
    ],
)
def test_an_error_is_one_line_with_its_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command(resumes=True)
    def main() -> int:
        raise error

    assert main() == status
    assert capsys.readouterr().err == f"{line}\n"


def test_a_bug_is_not_dressed_up_as_a_wrong_argument() -> None:
    @command()
    def main() -> int:
        raise AssertionError("a bug")

    with pytest.raises(AssertionError):
        main()


PROGRAM = """
import sys
from inference.common.commands import command

@command(resumes={resumes})
def main():
    {body}
    return 0

sys.exit(main())
"""


@pytest.mark.parametrize(("resumes", "status"), [(False, DONE), (True, FAILED)])
@pytest.mark.parametrize("body", ["print('x')", "[print('x' * 100) for _ in range(10_000)]"])
def test_a_reader_that_leaves_causes_no_noise(resumes: bool, status: int, body: str) -> None:
    unread, pipe = os.pipe()
    os.close(unread)
    program = PROGRAM.format(resumes=resumes, body=body)
    done = subprocess.run([sys.executable, "-c", program], stdout=pipe, stderr=subprocess.PIPE)
    os.close(pipe)
    assert (done.returncode, done.stderr) == (status, b"")


def test_ctrl_c_ends_a_stream_without_a_traceback(tiny_home: Path) -> None:
    # A program that was started in the background may have inherited that Ctrl-C is ignored.
    run = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from inference import classify"
    given = [sys.executable, "-c", f"{run}; sys.exit(classify.main())", "--bundle", str(tiny_home), "--jsonl"]
    pipe = subprocess.PIPE
    with subprocess.Popen(given, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        assert process.stderr is not None
        process.stdout.readline()  # from here on it waits for the next line
        process.send_signal(signal.SIGINT)
        process.wait(60)  # its input stays open: an end of that at the same moment would end it first
        said = process.stderr.read()
    assert (process.returncode, said) == (STOPPED, b"stopped\n")


def test_what_fails_on_a_full_disk_is_named(tmp_path: Path) -> None:
    home = tmp_path / "models" / "not made yet"
    with pytest.raises(RuntimeError, match="inline_container"), naming_full_disk(home):
        raise RuntimeError("enforce fail at inline_container.cc")
    with (
        pytest.raises(FullDisk, match=r"no space left under .*not made yet: free some"),
        naming_full_disk(home, 1 << 60),
    ):
        raise RuntimeError("enforce fail at inline_container.cc")
    with pytest.raises(ValueError, match="epochs"), naming_full_disk(home, 1 << 60):
        raise ValueError("epochs must be positive")
