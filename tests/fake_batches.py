"""What tests/fake_api.py has not: batches of OpenAI's API, batches that vanish, and gateways that lack endpoints."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import fake_wire as wire
from tests.fake_api import FakeAPI
from tests.fake_http import Bill, Response
from tests.fake_wire import FAILURES, ApiError

BATCHES = "/v1/messages/batches"


@dataclass
class Vanishing(FakeAPI):
    """Loses the batches of the numbers `lost`, counted from 0, once they are looked at; `deleted`: their results."""

    lost: Collection[int] = ()
    deleted: bool = False
    most: int = 0  # batches that were in progress at once

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        name = re.search("msgbatch_[0-9a-f]+", target)
        with self.lock:
            open_now = [one for one in self._batches.values() if one.shown["processing_status"] == "in_progress"]
            self.most = max(self.most, len(open_now))
            if method == "GET" and name and name[0] in self._batches:
                self._lose(name[0])
        return super().respond(method, target, headers, raw)

    def _lose(self, name: str) -> None:
        if list(self._batches).index(name) not in self.lost:
            return
        if self.deleted:
            self._batches[name].shown |= {"processing_status": "ended", "archived_at": wire.now()}
        else:
            self._batches = {f"gone {key}" if key == name else key: batch for key, batch in self._batches.items()}

    def _list(self, wanted: Mapping[str, str]) -> Response:
        kept = self._batches
        self._batches = {name: batch for name, batch in kept.items() if not name.startswith("gone")}
        try:
            return super()._list(wanted)
        finally:
            self._batches = kept


@dataclass
class Gateway(FakeAPI):
    """Has no endpoint whose method and path fit one of `lacking`."""

    lacking: Collection[str] = ()

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        path = target.partition("?")[0]
        if any(re.fullmatch(pattern, f"{method} {path}") for pattern in self.lacking):
            raise ApiError(404, "404 page not found")
        return super().respond(method, target, headers, raw)


@dataclass
class OpenAIBatches(FakeAPI):
    """Serves files and batches too, which are through at once. `refused` is the code of every batch's error."""

    refused: str = ""
    deleted: int = 0  # so many files of results are gone when they are asked for
    expire: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    owed: dict[str, Bill] = field(default_factory=dict)  # by the id of a file of results

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        match [method, *target.partition("?")[0].split("/")[2:]]:
            case ["POST", "files"]:
                content = re.search(rb"\r\n\r\n(\{.*?\})\n?\r\n--", raw, re.DOTALL)
                assert content is not None
                return Response({"id": self._file(content[1]), "object": "file", "purpose": "batch"})
            case ["GET", "files", _, "content"] if self.deleted:
                self.deleted -= 1
                raise ApiError(404, "No such File object")
            case ["GET", "files", name, "content"] if name in self.files:
                return Response(self.files[name], bill=self.owed.get(name, Bill()))
            case ["POST", "batches"]:
                return self._make(wire.parsed(raw))
            case ["GET", "batches"]:
                return Response({"object": "list", "data": list(self.made.values())[::-1], "has_more": False})
            case ["GET", "batches", name] if name in self.made:
                return Response(self.made[name])
        return super().respond(method, target, headers, raw)

    def _file(self, content: bytes) -> str:
        name = f"file-{uuid.uuid4().hex}"
        self.files[name] = content
        return name

    def _make(self, body: dict[str, Any]) -> Response:
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        shown = {
            "id": f"batch_{uuid.uuid4().hex}",
            "object": "batch",
            "created_at": int(time.time()),
            "endpoint": body["endpoint"],
            "metadata": body["metadata"],
            "status": "completed",
        }
        if self.refused:
            error = {"code": self.refused, "message": f"refused: {self.refused}"}
            shown |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
        else:
            shown |= self._run(self.files[body["input_file_id"]])
        with self.lock:
            self.made[shown["id"]] = shown
            self.batches_created += 1
        return Response(shown, fault="drop" if self.drop_create_response else None)

    def _run(self, content: bytes) -> dict[str, Any]:
        lines = [json.loads(line) for line in content.splitlines()]
        bill, good, bad = Bill(), list[dict[str, Any]](), list[dict[str, Any]]()
        for number, line in enumerate(lines):
            if self.expire and number % 2:
                error = {"code": "batch_expired", "message": "This request was not executed in time"}
                bad.append({"custom_id": line["custom_id"], "response": None, "error": error})
                continue
            answer = self._answer(line["body"], bill)
            place = good if answer["status_code"] == 200 else bad
            place.append({"custom_id": line["custom_id"], "response": answer, "error": None})
        self.charged_unsent_nano += bill.nano()
        output, errors = (self._file("\n".join(map(json.dumps, rows)).encode()) for rows in (good, bad))
        self.owed[output] = bill
        self.expire = False
        return {"output_file_id": output if good else None, "error_file_id": errors if bad else None}

    def _answer(self, body: dict[str, Any], bill: Bill) -> dict[str, Any]:
        params = wire.from_chat(body)
        query = self.query_of(params)
        fault = self.fault_for(query, (*FAILURES, *wire.ODD))
        if fault in FAILURES:
            error = ApiError(*FAILURES[fault])
            return {"status_code": error.status, "body": error.body(openai=True)}
        said, _ = self._generate(params, query, fault)
        completion, nano = wire.completion(body["model"], said)
        bill.answers.append((query, -(-nano // 2)))
        return {"status_code": 200, "body": completion}
