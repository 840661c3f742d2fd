"""A stand-in for LLM APIs over a real socket: Anthropic's Messages and Batches, and OpenAI's chat completions.

It refuses what they refuse, counts tokens and cache hits, keeps what it charged and fails on demand. An answer is
charged once it was sent whole; one that was cut off, or that its reader left unread, counts as unsent.
As a process: `python -m tests.fake_api --state FILE` prints its URL on the first line and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import json
import random
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests import fake_wire as wire
from tests.fake_http import Bill, Response, Server
from tests.fake_wire import CALL_FAULTS, FAILURES, ROW_FAULTS, ApiError

MIN_CACHED = 512  # tokens
STATE = ("charged_nano", "charged_unsent_nano", "batches_created", "calls", "attempts", "faulted", "answers")


@dataclass
class Batch:
    requests: list[dict[str, Any]]
    shown: dict[str, Any]
    due: float
    polls: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    bill: Bill = field(default_factory=Bill)


@dataclass
class FakeAPI:
    """Serves while used as a context manager; its counters stay readable afterwards.

    `faults(query, attempt)` names a fault or None, attempts counting from 0; without it, `fault_share` of the attempts
    fail, evenly over those of `kinds` that fit. A batch ends at its `batch_polls`th poll, or after `batch_delay_s`.
    On leaving, what `answer` or `faults` raised in a thread is raised.
    """

    labels: Sequence[str] = ()
    answer: Callable[[str, Sequence[str]], str] = wire.default_answer
    fence: str | None = None
    faults: Callable[[str, int], str | None] | None = None
    fault_share: float = 0.0
    kinds: Sequence[str] = (*CALL_FAULTS, *ROW_FAULTS)
    seed: int = 0
    hang_s: float = 30.0
    batch_delay_s: float = 0.2
    batch_polls: int | None = None
    drop_create_response: bool = False
    key: str = "test-key"
    models: Sequence[str] = ("claude-haiku-5-5", "gpt-6-luna", "llama3.2")
    state: Path | None = None
    port: int = 0

    def __post_init__(self) -> None:
        if unknown := set(self.kinds) - {*CALL_FAULTS, *ROW_FAULTS}:
            raise ValueError(f"unknown kinds of fault: {', '.join(sorted(unknown))}")
        self.calls, self.attempts, self.faulted, self.answers = (Counter[str]() for _ in range(4))
        self.charged_nano = self.charged_unsent_nano = self.batches_created = 0
        self.bodies: list[Any] = []
        self.failures: list[Exception] = []
        self.cache: set[str] = set()
        self.lock, self.closing = threading.RLock(), threading.Event()
        self._batches: dict[str, Batch] = {}

    def __enter__(self) -> FakeAPI:
        self._server = Server(self.port, self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.settle(Bill(), True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.closing.set()
        for connection in list(self._server.live):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        if self.failures and kind is None:
            raise self.failures[0]

    @property
    def charged_usd(self) -> Decimal:
        return Decimal(self.charged_nano).scaleb(-9)

    @property
    def charged_unsent_usd(self) -> Decimal:
        return Decimal(self.charged_unsent_nano).scaleb(-9)

    def settle(self, bill: Bill, sent: bool) -> bool:
        """Book generated answers as sent whole, or as unsent after all, and write the state. False: they were so."""
        with self.lock:
            if changed := bill.sent != sent:
                sign = 1 if sent else -1
                bill.sent = sent
                self.charged_nano += sign * bill.nano()
                self.charged_unsent_nano -= sign * bill.nano()
                for query, _ in bill.answers:
                    self.answers[query] += sign
                if not sent:
                    self.answers = +self.answers
            if self.state:
                part = self.state.with_name(f"{self.state.name}.part")
                part.write_text(json.dumps({name: getattr(self, name) for name in STATE}))
                part.replace(self.state)
        return changed

    def respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Response:
        """Raises ApiError for what the API answers with an error."""
        url = urlsplit(target)
        with self.lock:
            self.calls[f"{method} {re.sub('msgbatch_[0-9a-f]+', 'ID', url.path)}"] += 1
        if headers.get("x-api-key") != self.key and headers.get("authorization") != f"Bearer {self.key}":
            raise ApiError(401, "invalid x-api-key")
        body = wire.parsed(raw) if method == "POST" and raw else {}
        self.bodies += [body] if body else []
        match [method, *url.path.split("/")[1:]]:
            case ["POST", "v1", "messages"]:
                return self._ask(body, wire.message)
            case ["POST", "v1", "chat", "completions"]:
                return self._ask(wire.from_chat(body), wire.completion)
            case ["POST", "v1", "messages", "count_tokens"]:
                self._check(body, counting=True)
                return Response({"input_tokens": self._read(body)[0].total()})
            case ["POST", "v1", "messages", "batches"]:
                return self._create(body.get("requests"))
            case ["GET", "v1", "messages", "batches"]:
                return self._list(dict(parse_qsl(url.query)))
            case [_, "v1", "messages", "batches", name, *rest] if name in self._batches:
                with self.lock:
                    return self._batch(self._batches[name], [method, *rest])
        raise ApiError(404, f"Not found: {method} {url.path}")

    def _check(self, params: dict[str, Any], counting: bool = False) -> None:
        if params.get("model") not in self.models:
            raise ApiError(404, f"model: {params.get('model')}")
        for problem in wire.problems(params, counting):
            raise ApiError(400, problem)

    def _ask(self, params: dict[str, Any], form: Callable[..., tuple[dict[str, Any], int]]) -> Response:
        self._check(params)
        query = self.query_of(params)
        fault = self.fault_for(query, CALL_FAULTS)
        if fault in FAILURES:
            raise ApiError(*FAILURES[fault])
        said, cached = self._generate(params, query, fault)
        body, nano = form(params["model"], said)
        bill = Bill([(query, nano)])
        with self.lock:
            self.charged_unsent_nano += nano
        return Response(body, bill=bill, cached=cached, fault=fault)

    def query_of(self, params: dict[str, Any]) -> str:
        said = wire.text_of(params["messages"][-1]["content"])
        fenced = self.fence and re.search(rf"<{self.fence}>\n(.*?)\n</{self.fence}>", said, re.DOTALL)
        return html.unescape(fenced[1]) if fenced else said

    def fault_for(self, query: str, fitting: Sequence[str]) -> str | None:
        with self.lock:
            attempt = self.attempts[query]
            self.attempts[query] += 1
            fault = self.faults(query, attempt) if self.faults else self._by_share(query, attempt, fitting)
            self.faulted.update([fault] if fault else [])
        if fault and fault not in fitting:
            raise ValueError(f"fault {fault!r} does not fit here; expected one of {', '.join(fitting)}")
        return fault

    def _by_share(self, query: str, attempt: int, fitting: Sequence[str]) -> str | None:
        kinds = [kind for kind in fitting if kind in self.kinds]
        kind, place = divmod(wire.number(self.seed, attempt, query), 1_000_000)
        return kinds[kind % len(kinds)] if kinds and place < self.fault_share * 1_000_000 else None

    def _read(self, params: dict[str, Any]) -> tuple[Counter[str], frozenset[str]]:
        """Input tokens by how they are charged, and the texts that are to be cached."""
        usage = Counter(plain=sum(wire.tokens(wire.text_of(message["content"])) for message in params["messages"]))
        system: Any = params.get("system") or []
        new = set()
        for block in system if isinstance(system, list) else [{"text": system}]:
            size, control = wire.tokens(block["text"]), block.get("cache_control")
            if not control or size < MIN_CACHED:
                usage["plain"] += size
            elif block["text"] in self.cache:
                usage["read"] += size
            else:
                usage[control.get("ttl", "5m")] += size
                new.add(block["text"])
        return usage, frozenset(new)

    def _generate(self, params: dict[str, Any], query: str, fault: str | None) -> tuple[wire.Said, frozenset[str]]:
        usage, cached = self._read(params)
        label = self.answer(query, wire.enum_of(params) or self.labels)
        return wire.say(label, fault, params["max_tokens"], usage), cached

    def _create(self, requests: Any) -> Response:
        for problem in wire.request_problems(requests):
            raise ApiError(400, problem)
        shown = wire.new_batch(len(requests))
        with self.lock:
            self._batches[shown["id"]] = Batch(requests, shown, time.monotonic() + self.batch_delay_s)
            self.batches_created += 1
        return Response(shown, fault="drop" if self.drop_create_response else None)

    def _list(self, wanted: Mapping[str, str]) -> Response:
        with self.lock:
            names = list(self._batches)[::-1]
            if "after_id" in wanted:
                names = names[names.index(wanted["after_id"]) + 1 :] if wanted["after_id"] in names else []
            page = names[: int(wanted.get("limit", 20))]
            shown = [self._advance(self._batches[name]) for name in page]
        ends = {"first_id": page[0] if page else None, "last_id": page[-1] if page else None}
        return Response({"data": shown, "has_more": len(page) < len(names), **ends})

    def _batch(self, batch: Batch, asked: list[str]) -> Response:
        match asked:
            case ["GET"]:
                batch.polls += 1
                return Response(self._advance(batch))
            case ["POST", "cancel"]:
                if self._advance(batch)["processing_status"] == "in_progress":
                    batch.shown |= {"processing_status": "canceling", "cancel_initiated_at": wire.now()}
                return Response(dict(batch.shown))
            case ["GET", "results"] if self._advance(batch)["results_url"]:
                lines = "".join(json.dumps(row) + "\n" for row in batch.rows)
                return Response(lines.encode(), headers={"content-type": "application/x-jsonl"}, bill=batch.bill)
        raise ApiError(404, "Not found, or not yet: results are there once the batch has ended")

    def _advance(self, batch: Batch) -> dict[str, Any]:
        """The batch as the API shows it now."""
        late = time.monotonic() >= batch.due if self.batch_polls is None else batch.polls >= self.batch_polls
        if late and not batch.rows:
            canceled = batch.shown["processing_status"] == "canceling"
            results = [{"type": "canceled"} if canceled else self._row(batch, row["params"]) for row in batch.requests]
            names = [row["custom_id"] for row in batch.requests]
            batch.rows = [{"custom_id": name, "result": result} for name, result in zip(names, results, strict=True)]
            random.Random(self.seed).shuffle(batch.rows)
            self.charged_unsent_nano += batch.bill.nano()
            url = f"{self.url}/v1/messages/batches/{batch.shown['id']}/results"
            batch.shown |= wire.ended_batch([result["type"] for result in results], url)
        return dict(batch.shown)

    def _row(self, batch: Batch, params: dict[str, Any]) -> dict[str, Any]:
        try:
            self._check(params)
            query = self.query_of(params)
            fault = self.fault_for(query, ROW_FAULTS)
            if fault in ("errored", "400-credit"):
                raise ApiError(*FAILURES["500" if fault == "errored" else fault])
            if fault in ("expired", "canceled"):
                return {"type": fault}
            said, cached = self._generate(params, query, fault)
        except ApiError as error:
            return {"type": "errored", "error": error.body()}
        self.cache.update(cached)
        message, nano = wire.message(params["model"], said, "batch")
        batch.bill.answers.append((query, nano))
        return {"type": "succeeded", "message": message}


def main() -> None:
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    for name in ("port", "seed", "batch-polls"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("fault-share", "hang-s", "batch-delay-s"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("labels", "kinds", "models"):
        parser.add_argument(f"--{name}", nargs="+")
    for name in ("fence", "key"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--state", type=Path)
    parser.add_argument("--drop-create-response", action="store_true")
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before any thread starts, so that all of them leave it to main
    with FakeAPI(**vars(parser.parse_args())) as api:
        print(api.url, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
