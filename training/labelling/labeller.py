"""Label queries with a teacher: plan, consent, calls or batches."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from inference.money.prices import CACHED_FROM_TOKENS, Usage, cost, shown
from inference.teachers.claude import AnthropicTeacher
from inference.teachers.http import Remote
from inference.teachers.teacher import Teacher, TeacherError
from training.labelling.batches import BatchLabeller
from training.labelling.calls import SyncLabeller
from training.labelling.job import Job
from training.labelling.patience import PATIENCE, Patience
from training.labelling.queries import Query
from training.labelling.streak import Stopped
from training.labelling.underway import UnderWay

ANSWER_TOKENS = 16
CHARACTERS_PER_TOKEN = 3.0
UNCOUNTED = ("address", "server", "request", "parameter", "unreadable")  # what gateways that do not count answer
COUNTING = Patience(tries=3, longest_s=1.0)


@dataclass(frozen=True)
class Plan:
    """What is about to be asked, counted in answers: a query needs one for each vote that it does not have yet.

    `nano` holds the estimated nano-dollars of all answers by way of asking, and is empty where there is no estimate.
    `most` is what they can cost at most, answers included that name no intent and are asked for again.
    """

    answers: int
    queries: int
    tokens: int
    nano: dict[str, int]
    most: int

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {shown(nano)}" for way, nano in self.nano.items())
        lines = [
            f"to ask          {self.answers} answers for {self.queries} queries, about {self.tokens} input tokens",
            f"about           {ways}",
            f"at most         {shown(self.most)}, and more only for answers that never arrive",
        ]
        return "\n".join(lines if ways else [lines[0], lines[2]])


async def make_plan(job: Job, queries: Sequence[Query]) -> Plan:
    """Estimate tokens and dollars. For Claude the API counts the fixed part, free of charge; the rest is estimated.

    Raises TeacherError if the API refuses to count tokens for a reason that it would not label for either.
    """
    texts = [query.text for query in queries for _ in range(job.needs(query))]
    most = sum(job.most(query) * job.teacher.worst_case(query.text) for query in queries)
    tokens, nano = await _estimate(job.teacher, texts)
    return Plan(len(texts), len(queries), tokens, nano, most)


async def _estimate(teacher: Teacher, texts: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Input tokens, and nano-dollars by way of asking."""
    per_query = sum(_length(teacher, text) for text in texts) / CHARACTERS_PER_TOKEN / max(1, len(texts))
    if not isinstance(teacher, AnthropicTeacher):
        return round(len(texts) * per_query), {}
    prefix = await _prefix(teacher)
    plain = Usage(input_tokens=round(prefix + per_query), output_tokens=ANSWER_TOKENS)
    cached = Usage(input_tokens=round(per_query), output_tokens=ANSWER_TOKENS, cache_read_tokens=prefix)
    usages = {"uncached": plain, "with the prompt cached": cached if prefix >= CACHED_FROM_TOKENS else plain}
    nano = {f"sync {way}": len(texts) * cost(teacher.priced_as, usage) for way, usage in usages.items()}
    if teacher.has_batches:
        nano["in batches"] = len(texts) * cost(teacher.priced_as, plain, batch=True)
    return len(texts) * plain.input_tokens, nano


def _length(teacher: Teacher, text: str) -> int:
    """Characters that a query adds to the fixed part."""
    if isinstance(teacher, Remote) and teacher.prompt.examples:
        return len(teacher.prompt.message(text)) - len(teacher.prompt.message(""))
    return len(text)


async def _prefix(teacher: AnthropicTeacher) -> int:
    """Tokens of the fixed part: counted by the API, or estimated where a gateway does not count."""
    try:
        return await COUNTING.retry(lambda: teacher.count(""))
    except TeacherError as error:
        if error.kind not in UNCOUNTED:
            raise
        return round(len(str(teacher.params(""))) / CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Options:
    """How to label; `batches` are under way at once. `confirm` is shown the plan and says whether to go on."""

    mode: str = "sync"
    workers: int = 8
    batch_size: int = 10_000
    batches: int = 4
    poll_s: float = 30.0
    timeout_s: float = 60.0
    patience: Patience = PATIENCE
    confirm: Callable[[Plan], bool] = lambda plan: True


async def label(queries: Sequence[Query], job: Job, options: Options) -> dict[str, str]:
    """Label `queries` into the job's output and return why those without an answer have none, by query id.

    Raises TeacherError, before anything is spent, if the teacher cannot be used at all.
    """
    batches = _batches(job, options)
    job.ledger.doubt_open(keep=batches.reservations if batches else ())
    left = job.open(queries)
    pending = bool(batches and batches.under_way.all())
    try:
        if not (left or pending) or (left and not options.confirm(await make_plan(job, left))):
            return {query.id: "not asked" for query in left}
        with tqdm(total=len(left), unit="query", disable=None) as bar:
            return await _run(left, job, options, batches, bar.update)
    finally:
        await job.teacher.close()


@dataclass(frozen=True)
class Answers:
    """Rows of labels by query key (a refusal's label is None), why others have none, and nano-dollars charged now."""

    rows: dict[str, dict[str, Any]]
    failed: dict[str, str]
    nano: int


def answers_for(
    texts: Mapping[str, str], teacher: Teacher, out: Path, cap_usd: float | None = None, options: Options | None = None
) -> Answers:
    """Have `teacher` label redacted `texts`, by query key, into `out`: resumable, capped, each paid for once.

    Raises ValueError where another process is at work on `out`, TeacherError where the teacher cannot be used at all.
    """
    with Job(out, teacher, cap_usd=cap_usd) as job:
        before = job.ledger.spent().measured
        failed = asyncio.run(label([Query(text, key) for key, text in texts.items()], job, options or Options()))
        rows = {key: row for key, row in job.rows().items() if key in texts}
        return Answers(rows, failed, job.ledger.spent().measured - before)


def _batches(job: Job, options: Options) -> BatchLabeller | None:
    if options.mode == "batch":
        size, at_once = options.batch_size, options.batches
        return BatchLabeller(job, size, options.poll_s, patience=options.patience, at_once=at_once)
    if UnderWay(job.home).all():
        raise ValueError(
            f"a batch is under way for {job.out}: run again with --mode batch first, or its answers are paid for twice"
        )
    return None


async def _run(
    left: list[Query], job: Job, options: Options, batches: BatchLabeller | None, tick: Callable[[], object]
) -> dict[str, str]:
    calls = SyncLabeller(job, options.workers, options.timeout_s, options.patience)
    reason = "no answer"
    try:
        # A batch's requests are checked only when it runs: one call first shows what would fail them all.
        if batches is None or not batches.under_way.all():
            await calls.run(left if batches is None else left[:1], tick)
        if batches is not None:
            await batches.run(left, tick)
    except Stopped as stop:
        reason = str(stop)
    failed = calls.failed | (batches.failed if batches else {})
    return {query.id: failed.get(query.id, reason) for query in left if query.id not in job.written}


def consent(yes: bool) -> Callable[[Plan], bool]:
    """What asks a person before money is spent, or `yes` without asking."""

    def ask(plan: Plan) -> bool:
        print(plan, flush=True)
        if yes or not plan.most:
            return True
        if not sys.stdin.isatty():
            print("nothing was labelled: give --yes to spend without a question", file=sys.stderr)
            return False
        return input("go on? [y/N] ").strip().lower() in ("y", "yes")

    return ask
