from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.fake_api import FakeAPI
from tests.fake_http import Response
from tests.fake_wire import ApiError
from tests.training import test_label
from tests.training.test_label import arguments, rows, write_queries
from training import label as labelling

home = test_label.home


class Gateway(FakeAPI):
    """A server that answers messages, and requests for the count of tokens with a failure."""

    failure: ApiError

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        if target.endswith("count_tokens"):
            raise self.failure
        return super().respond(method, target, headers, raw)


@pytest.mark.parametrize(("status", "message"), [(404, "404 page not found"), (500, "Internal"), (400, "Bad request")])
def test_a_gateway_that_does_not_count_tokens_gets_an_estimate(
    home: Path, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_queries(home, 5)
    with FakeAPI(fence="query") as api:
        assert labelling.main(arguments(home, api.url)) == 0
    counted = announced(capsys.readouterr().out)
    (home / "out.jsonl").unlink()
    with Gateway(fence="query") as api:
        api.failure = ApiError(status, message)
        assert labelling.main([*arguments(home, api.url), "--out", str(home / "out.jsonl")]) == 0
    assert len(rows(home)) == 5
    assert counted / 2 < announced(capsys.readouterr().out) < counted * 2


def announced(out: str) -> int:
    """The input tokens of the plan."""
    return int(out.partition("queries, about ")[2].split()[0])
