"""The service as its clients see it: a real server on loopback, one start for most tests."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inference.log.decision_log import DecisionLog
from inference.serve import main
from inference.service.settings import read_token
from tests.logged import wait_until
from tests.served import Served, served

TOKEN = "a-token-of-the-tests"
LOCAL, SECRET = "undo the refund please", "my secret words"


@pytest.fixture(scope="module")
def service(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("service")
    home = Path(shutil.copytree(tiny_home, folder / "tiny"))
    (folder / "may").touch()
    flags = ("--teacher", "python:given_teacher:label", "--max-body-bytes", "4096", "--max-texts", "3", "--slow-s", "1")
    with served(home, folder, *flags, MONOKU_SAMPLE_RATE="0") as found:
        yield found


def test_one_text_is_answered_like_by_the_cascade(service: Served) -> None:
    answer = service.post("/classify", {"text": LOCAL, "id": "mine"}).json
    assert (answer["id"], answer["intent"], answer["source"], answer["accepted"]) == (
        "mine",
        "payments",
        "student",
        True,
    )
    assert answer["bundle_id"] == service.get("/version").json["bundle_id"]


def test_several_texts_are_answered_in_order(service: Served) -> None:
    answers = service.post("/classify", {"texts": ["undo the login please", LOCAL]}).json["answers"]
    assert [answer["intent"] for answer in answers] == ["account", "payments"]
    assert len({answer["id"] for answer in answers}) == 2


def test_any_text_is_answered(service: Served) -> None:
    for text in (b'""', rb'"\ud800"', rb'"\u0000"', b'"' + b"x" * 4000 + b'"'):
        assert service.post("/classify", b'{"text": ' + text + b"}").json["intent"] is not None


def test_a_correction_answers_the_text_from_then_on(service: Served) -> None:
    answer = service.post("/classify", {"text": "repeat the receipt please"}).json
    assert service.post("/feedback", {"id": answer["id"], "intent": "account"}).status == 204
    again = service.post("/classify", {"text": "repeat the receipt please"}).json
    assert (again["intent"], again["source"]) == ("account", "human")


@pytest.mark.parametrize(
    ("given", "status", "error", "message"),
    [
        ({"id": "never seen", "intent": "account"}, 404, "not_remembered", "give its `text`"),
        ({"id": "mine", "intent": SECRET, "text": "x"}, 422, "no_intent", "account, payments, unknown"),
        ({"id": "mine"}, 422, "invalid", "intent: Field required"),
    ],
)
def test_a_correction_that_cannot_be_taken_says_why(
    service: Served, given: Any, status: int, error: str, message: str
) -> None:
    check_problem(service.post("/feedback", given), status, error, message)


@pytest.mark.parametrize(
    ("given", "status", "error", "message"),
    [
        ({}, 422, "invalid", "give either `text` or `texts`"),
        ({"text": LOCAL, "texts": [LOCAL]}, 422, "invalid", "give either `text` or `texts`"),
        ({"texts": [LOCAL], "id": "x"}, 422, "invalid", "`id` names one request"),
        ({"texts": []}, 422, "invalid", "texts"),
        ({"texts": [1]}, 422, "invalid", "texts.0: Input should be a valid string"),
        ({"texts": [LOCAL] * 4}, 422, "too_many", "4 texts were given, at most 3"),
        ({"text": LOCAL, SECRET: 1}, 422, "invalid", "a field that does not exist"),
        ({"text": LOCAL, "id": ""}, 422, "invalid", "id: String should have at least 1"),
        ([LOCAL], 422, "invalid", "should be a valid dictionary"),
        (b'{"text": "my secret words', 422, "invalid", "not JSON"),
        (b"\xff\xfe", 422, "invalid", "not JSON"),
        (b'{"text": "x", "id": "\\ud800"}', 422, "invalid", "id"),
        (b"[" * 3000, 400, "http_400", "cannot be read"),
        ({"text": "x" * 5000}, 413, "too_large", "at most 4,096 bytes"),
    ],
)
def test_an_invalid_request_is_told_what_is_wrong_and_not_what_it_said(
    service: Served, given: Any, status: int, error: str, message: str
) -> None:
    check_problem(service.post("/classify", given), status, error, message)


def check_problem(reply: Any, status: int, error: str, message: str) -> None:
    assert (reply.status, reply.json["error"]) == (status, error), reply.text
    assert message in reply.json["message"]
    assert reply.json["request_id"] == reply.headers["X-Request-Id"]
    assert SECRET not in reply.text


def test_a_body_without_a_length_is_limited_too(service: Served) -> None:
    with service.connect() as client:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n1\r\nx\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_what_is_not_json_or_not_here_is_refused(service: Served) -> None:
    plain = service.send("/classify", b"{}", Content_Type="text/plain")
    check_problem(plain, 415, "not_json", "Content-Type: application/json")
    check_problem(service.get("/secret"), 404, "http_404", "no such path")
    check_problem(service.get("/classify"), 405, "http_405", "another method")


def test_a_page_elsewhere_whose_name_leads_here_is_refused(service: Served) -> None:
    check_problem(service.get("/version", Host="evil.example:80"), 403, "other_host", "start it with a token")
    assert all(service.get("/version", Host=host).status == 200 for host in ("localhost:1", "LocalHost", "localhost."))
    assert "Access-Control-Allow-Origin" not in service.get("/version", Origin="http://evil.example").headers


def test_a_request_id_comes_back_and_one_that_is_no_name_is_replaced(service: Served) -> None:
    assert service.get("/healthz", X_Request_Id="abc-1.2").headers["X-Request-Id"] == "abc-1.2"
    given = service.get("/healthz", X_Request_Id="two words").headers["X-Request-Id"]
    assert re.fullmatch("[0-9a-f]{32}", given)


def test_the_service_says_that_it_lives_and_what_it_serves(service: Served) -> None:
    assert service.get("/healthz").json == {"status": "alive"}
    assert service.get("/readyz").json == {"ready": True, "why": ""}
    assert [service.head(path) for path in ("/healthz", "/readyz")] == [(200, b""), (200, b"")]
    assert service.get("/version").json["intents"] == ["account", "payments", "unknown"]
    assert {"/classify", "/feedback", "/metrics"} <= service.get("/openapi.json").json["paths"].keys()


@pytest.mark.parametrize(
    ("begun", "reply"),
    [(b"", b""), (b"POST /cl", b""), (b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Le", b"")],
    ids=["nothing", "half a line", "half a head"],
)
def test_a_client_that_does_not_send_its_head_is_closed(service: Served, begun: bytes, reply: bytes) -> None:
    with service.connect() as client:
        client.sendall(begun)
        assert client.recv(100) == reply


def test_a_client_that_does_not_send_its_body_is_told_and_closed(service: Served) -> None:
    with service.connect() as client:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head + b"Content-Length: 100\r\n\r\n{")
        received = b""
        while chunk := client.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"error": "too_slow"' in received


def test_a_client_that_leaves_does_no_harm(service: Served) -> None:
    with service.connect() as client:
        client.sendall(
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9\r\n\r\n{"
        )
    assert service.post("/classify", {"text": LOCAL}).status == 200


def test_the_log_is_json_and_holds_no_text(service: Served) -> None:
    service.post("/classify", {"text": f"{SECRET} fail"}, X_Request_Id="in-the-log")
    service.get(f"/{SECRET.replace(' ', '%20')}?q={SECRET.replace(' ', '+')}")
    wait_until(lambda: any(line.get("request_id") == "in-the-log" for line in service.lines()))
    line = next(line for line in service.lines() if line.get("request_id") == "in-the-log")
    assert (line["logger"], line["method"], line["path"], line["status"]) == (
        "monoku.access", "POST", "/classify", 200,
    )  # fmt: skip
    assert not re.search("secret", service.log.read_text(), re.IGNORECASE)


# With a token.


@pytest.fixture(scope="module")
def guarded(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Listens on all addresses, without a log: nothing is shared with other tests."""
    with served(tiny_home, tmp_path_factory.mktemp("guarded"), MONOKU_TOKEN=TOKEN, MONOKU_LOG="none") as found:
        yield found


@pytest.mark.parametrize("given", ["", f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}", "Bearer é", f"Bearer {TOKEN} x"])
def test_a_wrong_token_is_refused_everywhere_but_at_the_probes(guarded: Served, given: str) -> None:
    headers = {"Authorization": given} if given else {}
    for path in ("/version", "/metrics", "/openapi.json", "/docs", "/no-such-path"):
        reply = guarded.get(path, **headers)
        check_problem(reply, 401, "no_token", "Authorization: Bearer TOKEN")
        assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert guarded.post("/classify", {"text": LOCAL}, **headers).status == 401
    assert guarded.get("/healthz", **headers).status == guarded.get("/readyz", **headers).status == 200


def test_the_token_opens_and_any_host_is_served(guarded: Served) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "monoku.example"}
    assert guarded.post("/classify", {"text": LOCAL}, **headers).json["intent"] == "payments"
    correction = guarded.post("/feedback", {"id": "x", "intent": "account", "text": LOCAL}, **headers)
    check_problem(correction, 409, "no_log", "needs a decision log")


def test_elsewhere_than_on_loopback_is_refused_without_a_token(
    tiny_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONOKU_TOKEN", raising=False)
    for host in ("0.0.0.0", "::"):
        assert main(["--bundle", str(tiny_home), "--host", host]) == 2
        assert "needs a token: set MONOKU_TOKEN or --token-file" in capsys.readouterr().err


def test_a_token_comes_from_a_file_first_and_a_weak_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert read_token(str(file), {"MONOKU_TOKEN": "another"}) == TOKEN
    assert read_token(None, {}) is None
    for weak in ("short", "with spaces in the token", "ein-längeres-tökén"):
        file.write_text(weak)
        with pytest.raises(ValueError, match="at least 16 printable ASCII characters") as raised:
            read_token(str(file), {})
        assert weak not in str(raised.value)
    with pytest.raises(ValueError, match="cannot be read from"):
        read_token(str(tmp_path / "none"), {})


def test_a_port_in_use_is_named(service: Served, tiny_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tiny_home), "--port", str(service.port)]) == 2
    assert f"cannot listen on 127.0.0.1 port {service.port}" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--bundle", str(tiny_home), "--port", "70000"])


def test_without_the_extra_the_command_names_it() -> None:
    program = (
        "import sys; sys.modules['fastapi'] = None; from inference.serve import main; sys.exit(main(['--bundle', 'x']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert 'pip install "monoku[serve]"' in done.stderr


# The end.


def test_a_stop_while_deferring_answers_what_was_asked_and_loses_no_row(tiny_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "tiny"))
    texts = {f"text number {number}" for number in range(8)}
    settings = {"MONOKU_STRATEGY": "tiered", "MONOKU_DEADLINE_S": "30", "MONOKU_SAMPLE_RATE": "0"}
    flags = ("--teacher", "python:given_teacher:label")
    with served(home, tmp_path, *flags, **settings) as service, ThreadPoolExecutor(len(texts)) as clients:
        asked = [clients.submit(service.post, "/classify", {"text": text}) for text in texts]
        wait_until(lambda: len(list(tmp_path.glob("asked-*"))) == len(texts))
        service.process.terminate()
        (tmp_path / "may").touch()
        answers = [future.result().json for future in asked]
        assert service.process.wait(60) == 0
    assert {(answer["source"], answer["intent"]) for answer in answers} == {("teacher", "payments")}
    log = DecisionLog(home / "decisions.db")
    assert {decision.text for decision in log.read_decisions()} == texts
    assert {answer.text for answer in log.read_answers()} == texts
