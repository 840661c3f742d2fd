"""Claude on Amazon Bedrock and Google Vertex AI, through the clients of Anthropic's SDK.

Region, project and credentials come from where those clients look: AWS_REGION and AWS's own chain, or
AWS_BEARER_TOKEN_BEDROCK; CLOUD_ML_REGION, ANTHROPIC_VERTEX_PROJECT_ID and Google's own chain. There are no batches. A
server that does not know schemas is asked without one: the prompt asks for JSON, and the answer is checked as always.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from inference.bundle.taxonomy import Taxonomy
from inference.money.prices import PRICES, Price, add_price, price_of
from inference.teachers.claude import AnthropicTeacher
from inference.teachers.teacher import TeacherError

REGIONAL = 1.1  # what a token costs within a region, as a share of what it costs anywhere


class CloudTeacher(AnthropicTeacher):
    """What both have in common. Raises ValueError if the model has no price or the extra is not installed."""

    has_batches = False

    def __init__(
        self, model: str, taxonomy: Taxonomy, *, base_url: str | None = None, api_key: str | None = None
    ) -> None:
        self.plain = _plain(model)
        self.priced_as = f"{self.kind}:{model}"
        if self.priced_as not in PRICES:
            add_price(self.priced_as, self._price(model))
        super().__init__(model, taxonomy, base_url=base_url, api_key=api_key)

    def _price(self, model: str) -> Price:
        if model in PRICES and model != self.plain:
            return PRICES[model]
        return price_of(self.plain) if self._anywhere(model) else _dearer(price_of(self.plain))

    def _anywhere(self, model: str) -> bool:
        raise NotImplementedError

    def _open(self) -> Any:
        raise NotImplementedError

    def _connect(self) -> Any:
        try:
            return self._open()
        except Exception as error:
            raise self._no_access(error) from error

    @contextlib.contextmanager
    def errors(self, timeout_s: float) -> Iterator[None]:
        """As of every teacher; what else a cloud's own packages raise is about credentials."""
        try:
            with super().errors(timeout_s):
                yield
        except TeacherError:
            raise
        except Exception as error:
            raise self._no_access(error) from error

    def _no_access(self, error: Exception) -> TeacherError:
        return TeacherError("key", f"{self.name} cannot be used: {error}", fatal=True)


class BedrockTeacher(CloudTeacher):
    """`bedrock:MODEL`, by its name there, as global.anthropic.claude-haiku-4-5-20251001-v1:0."""

    kind = extra = "bedrock"

    def _anywhere(self, model: str) -> bool:
        return model.startswith("global.")

    def _open(self) -> Any:
        return self.sdk.AsyncAnthropicBedrock(api_key=self.api_key, base_url=self.base_url, max_retries=0)

    async def count(self, text: str, timeout_s: float = 10.0) -> int:
        """Bedrock counts no tokens: raises TeacherError."""
        raise TeacherError("address", f"{self.name} counts no tokens")


class VertexTeacher(CloudTeacher):
    """`vertex:MODEL`, by its name there, as claude-haiku-4-5@20251001. `api_key` is an access token."""

    kind = extra = "vertex"

    def _anywhere(self, model: str) -> bool:
        return os.environ.get("CLOUD_ML_REGION") == "global"

    def _open(self) -> Any:
        return self.sdk.AsyncAnthropicVertex(access_token=self.api_key, base_url=self.base_url, max_retries=0)


def _plain(model: str) -> str:
    """The model's name on Anthropic's own API."""
    name = re.sub(r"^(?:[a-z-]+\.)?anthropic\.", "", model)
    return re.sub(r"-v\d+(?::\d+)?$", "", name).replace("@", "-")


def _dearer(price: Price) -> Price:
    rates = ("input", "output", "cache_write", "cache_write_1h", "cache_read")
    known = {name: getattr(price, name) for name in rates}
    more = {name: round(rate * REGIONAL, 9) for name, rate in known.items() if rate is not None}
    return replace(price, **more, long=_dearer(price.long) if price.long else None, note="within a region")
