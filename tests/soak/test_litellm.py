"""The LiteLLM proxy in front of models that it makes up, in an environment of its own: `make soak` sets it up."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.cascade import Cascade
from inference.log import DecisionLog
from inference.money.ledger import Ledger
from inference.teachers.registry import open_teacher
from tests.soak.running import free_port, running

pytestmark = pytest.mark.soak
PROGRAM = Path(os.environ.get("MONOKU_TEST_LITELLM", ".venv-litellm/bin/litellm")).absolute()
TAXONOMY = Taxonomy.of(["payments", "account"])
KEY = f"sk-{secrets.token_hex(24)}"  # it does not start without one
MODELS = {"claude-haiku-5-5": "anthropic/claude-haiku-5-5", "gpt-6-luna": "openai/gpt-6-luna"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not PROGRAM.exists():
        pytest.skip(f"there is no LiteLLM at {PROGRAM} (make soak sets it up)")
    folder, port = tmp_path_factory.mktemp("litellm"), free_port()
    reply = json.dumps({"intent": "payments"})
    known = [
        {"model_name": name, "litellm_params": {"model": model, "api_key": "made-up", "mock_response": reply}}
        for name, model in MODELS.items()
    ]
    (folder / "config.yaml").write_text(json.dumps({"model_list": known}))  # JSON is YAML
    command = [PROGRAM, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port]
    local = {
        "LITELLM_MASTER_KEY": KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DISABLE_ADMIN_UI": "True",
        "NO_PROXY": "*",
    }
    with running(command, port, folder / "log", **local):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("spec", "key"),
    [("anthropic:claude-haiku-5-5@{}", "ANTHROPIC_API_KEY"), ("openai:gpt-6-luna@{}/v1", "OPENAI_API_KEY")],
)
def test_a_gateway_labels_as_the_api_behind_it_does(
    spec: str, key: str, proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(key, KEY)
    settings = {"deadline_s": 60.0, "call_limit_s": 60.0, "concurrency": 8, "day_zero_rate": 0.0}
    teacher = open_teacher(spec.format(proxy), TAXONOMY)
    with Cascade.load(tmp_path / "model", teacher, taxonomy=TAXONOMY, **settings) as cascade:
        answers = cascade.classify_many([f"question {number}" for number in range(60)])
        assert {(answer.source, answer.intent, answer.reason) for answer in answers} == {("teacher", "payments", None)}
    kept = list(DecisionLog(tmp_path / "model" / "decisions.db").read_answers())
    assert len(kept) == 60
    with contextlib.closing(Ledger(tmp_path / "model" / "spend.db")) as ledger:
        spent = ledger.spent()
    assert (spent.unsure, spent.reserved) == (0, 0)
    assert spent.measured == sum(round(answer.cost_usd * 1e9) for answer in kept)
