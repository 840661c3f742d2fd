"""The API as a page: what /openapi.json says, for a person, with nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from starlette.responses import Response

from inference.service.page.render import page


def reference(openapi: Mapping[str, Any], locked: bool) -> Response:
    """The page of an OpenAPI document; `locked`: all but the probes want a token."""
    schemas = openapi.get("components", {}).get("schemas", {})
    return page(
        "api", version=openapi["info"]["version"], locked=locked, endpoints=list(_endpoints(openapi["paths"])),
        schemas=[(name, list(_fields(schema))) for name, schema in schemas.items()],
    )  # fmt: skip


def _endpoints(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, methods in paths.items():
        for method, one in methods.items():
            takes = _names(one.get("requestBody", {}))
            replies = [(status, reply["description"], _names(reply)) for status, reply in one["responses"].items()]
            text = one.get("description") or one.get("summary", "")
            yield {
                "method": method.upper(),
                "path": path,
                "text": text,
                "takes": next(iter(takes), ""),
                "replies": replies,
            }


def _names(part: Any) -> list[str]:
    """The schemas that a part of the document refers to."""
    if isinstance(part, list):
        return [name for one in part for name in _names(one)]
    if not isinstance(part, Mapping):
        return []
    own = [str(part["$ref"]).rpartition("/")[2]] if "$ref" in part else []
    return [*own, *(name for one in part.values() for name in _names(one))]


def _fields(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    required = schema.get("required", ())
    for name, one in schema.get("properties", {}).items():
        yield {"name": name, "type": _type(one), "required": name in required, "text": one.get("description", "")}


def _type(one: Mapping[str, Any]) -> str:
    if "anyOf" in one:
        return " or ".join(map(_type, one["anyOf"]))
    if one.get("type") == "array":
        return f"list of {_type(one['items'])}"
    return str(one.get("type") or str(one.get("$ref", "anything")).rpartition("/")[2])
