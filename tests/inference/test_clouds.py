"""Bedrock and Vertex against a local server that speaks as they do; no live call was ever made."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import PRICES, price_of
from inference.teachers.batches import batches_of
from inference.teachers.clouds import BedrockTeacher, CloudTeacher, VertexTeacher
from inference.teachers.registry import open_teacher
from inference.teachers.teacher import TeacherError
from tests import fake_wire as wire
from tests.fake_api import FakeAPI
from tests.fake_http import Response
from tests.fake_wire import ApiError

TAXONOMY = Taxonomy.of(["billing", "account"])
BEDROCK, VERTEX = "global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5@20251001"
PATHS = (r"/model/(.+)/invoke", r"/projects/shop/locations/europe-west1/publishers/anthropic/models/(.+):rawPredict")


@dataclass
class Cloud(FakeAPI):
    """The Messages API behind the paths of both clouds. Without `schemas` it knows no output_config."""

    schemas: bool = True

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        found = next((match for path in PATHS if (match := re.fullmatch(path, target))), None)
        if found is None or headers["authorization"] != "Bearer test-key":
            raise ApiError(404, f"no such path: {target}")
        body = wire.parsed(raw)
        assert body.pop("anthropic_version")
        assert "model" not in body
        if not self.schemas and "output_config" in body:
            raise ApiError(400, "output_config: Extra inputs are not permitted")
        self.bodies.append(body)
        self.calls[found[1]] += 1
        return self._ask({**body, "model": self.models[0]}, wire.message)


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "test-key")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("CLOUD_ML_REGION", "europe-west1")
    monkeypatch.setenv("ANTHROPIC_VERTEX_PROJECT_ID", "shop")
    before = dict(PRICES)
    yield
    PRICES.clear()
    PRICES.update(before)


def teacher_of(kind: str, url: str) -> CloudTeacher:
    if kind == "bedrock":
        return BedrockTeacher(BEDROCK, TAXONOMY, base_url=url)
    return VertexTeacher(VERTEX, TAXONOMY, base_url=url, api_key="test-key")


@pytest.mark.parametrize("schemas", [True, False])
@pytest.mark.parametrize("kind", ["bedrock", "vertex"])
def test_a_cloud_answers_with_a_schema_or_by_instruction_alone(kind: str, schemas: bool) -> None:
    async def ask(teacher: Any) -> list[Any]:
        try:
            return [await teacher.ask(f"message {i}", 20) for i in range(2)]
        finally:
            await teacher.close()

    with Cloud(labels=TAXONOMY.names, fence="query", schemas=schemas) as api:
        teacher = teacher_of(kind, api.url)
        replies = asyncio.run(ask(teacher))
        assert api.calls == {BEDROCK if kind == "bedrock" else VERTEX: 2}
    assert all(reply.label in TAXONOMY.names and reply.nano > 0 for reply in replies)
    assert all(("output_config" in body) == schemas for body in api.bodies)
    assert all(reply.nano <= teacher.worst_case("message 0") for reply in replies)


def test_a_token_costs_more_within_a_region_than_anywhere() -> None:
    anywhere, within = BedrockTeacher(BEDROCK, TAXONOMY), BedrockTeacher(BEDROCK.replace("global", "eu"), TAXONOMY)
    assert price_of(anywhere.priced_as) == price_of("claude-haiku-4-5")
    assert price_of(within.priced_as).input == pytest.approx(1.1 * price_of("claude-haiku-4-5").input)
    assert price_of(VertexTeacher("claude-haiku-5-5", TAXONOMY).priced_as).long.input == pytest.approx(0.55)


def test_names_of_the_clouds_are_known_and_have_no_batches() -> None:
    for spec, kind, model, url in (
        (f"bedrock:{BEDROCK}", BedrockTeacher, BEDROCK, None),
        (f"vertex:{VERTEX}", VertexTeacher, VERTEX, None),
        (f"vertex:{VERTEX}@http://127.0.0.1:9", VertexTeacher, VERTEX, "http://127.0.0.1:9"),
    ):
        teacher = open_teacher(spec, TAXONOMY)
        assert isinstance(teacher, kind)
        assert (teacher.model, teacher.base_url, teacher.name) == (model, url, spec)
        with pytest.raises(ValueError, match="use --mode sync"):
            batches_of(teacher)
    with pytest.raises(ValueError, match="no price for the model 'claude-haiku-99'"):
        open_teacher("bedrock:anthropic.claude-haiku-99", TAXONOMY)


@pytest.mark.parametrize(
    ("kind", "variable", "message"),
    [
        ("bedrock", "AWS_REGION", "No AWS region"),
        ("vertex", "CLOUD_ML_REGION", "No region was given"),
        ("vertex", "ANTHROPIC_VERTEX_PROJECT_ID", "No project_id was given"),
    ],
)
def test_what_a_cloud_needs_and_has_not_is_one_fatal_line(
    kind: str, variable: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(TeacherError, match=message) as caught:
        asyncio.run(teacher_of(kind, "http://127.0.0.1:9").ask("hello", 5))
    assert caught.value.fatal


def test_bedrock_counts_no_tokens_and_is_estimated() -> None:
    with pytest.raises(TeacherError) as caught:
        asyncio.run(BedrockTeacher(BEDROCK, TAXONOMY).count("hello"))
    assert caught.value.kind == "address"
