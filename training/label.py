"""Have a teacher label queries.

    python -m training.label queries.jsonl --taxonomy data/support/taxonomy.toml --out labelled/queries.jsonl

Deduplicates, shows what it will cost, asks, labels. The output is append-only: run again after a kill, it goes on
where it was and pays for nothing twice. It stops where no query would fare better: the key is wrong, the account's
credit is used up, or ten queries in a row got no usable answer. Exit status: 0 done; 1 stopped, or some queries have no
answer, said why; 2 it could not start.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from inference.guard import LedgerDown
from inference.prices import CACHED_FROM_TOKENS, Usage, cost, shown
from inference.redact import load_redactor
from inference.remote import AnthropicTeacher
from inference.taxonomy import Taxonomy
from inference.teacher import FORMS, HAIKU, Teacher, TeacherError, open_teacher
from training.batches import BatchLabeller, under_way
from training.job import Job
from training.queries import Queries, Query, read_queries
from training.streak import Stopped
from training.sync import PATIENCE, Patience, SyncLabeller

ANSWER_TOKENS = 16
CHARACTERS_PER_TOKEN = 3.0
MOST_SHOWN = 5
COUNTING = Patience(tries=3, longest_s=1.0)


@dataclass(frozen=True)
class Plan:
    """What is about to be asked, and nano-dollars by way of asking (empty where the teacher has no price)."""

    queries: int
    tokens: int
    nano: dict[str, int]

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {shown(nano)}" for way, nano in self.nano.items())
        return f"to ask          {self.queries} answers, about {self.tokens} input tokens\nabout           {ways}"


async def make_plan(teacher: Teacher, texts: Sequence[str]) -> Plan:
    """Estimate tokens and dollars. For Claude the API counts the fixed part, free of charge; the rest is estimated.

    Raises TeacherError where the API will not even count: it would not label either.
    """
    characters = sum(len(text) for text in texts)
    if not isinstance(teacher, AnthropicTeacher):
        worst = sum(teacher.worst_case(text) for text in texts)
        return Plan(len(texts), round(characters / CHARACTERS_PER_TOKEN), {"at most": worst})
    prefix = await COUNTING.retry(lambda: teacher.count(""))
    per_query = characters / CHARACTERS_PER_TOKEN / max(1, len(texts))
    plain = Usage(input_tokens=round(prefix + per_query), output_tokens=ANSWER_TOKENS)
    cached = Usage(input_tokens=round(per_query), output_tokens=ANSWER_TOKENS, cache_read_tokens=prefix)
    usages = {"uncached": plain, "with the prompt cached": cached if prefix >= CACHED_FROM_TOKENS else plain}
    nano = {f"sync {way}": len(texts) * cost(teacher.model, usage) for way, usage in usages.items()}
    nano["in batches"] = len(texts) * cost(teacher.model, plain, batch=True)
    return Plan(len(texts), len(texts) * plain.input_tokens, nano)


@dataclass(frozen=True)
class Options:
    """How to label. `confirm` is shown the plan and says whether to go on."""

    mode: str = "sync"
    workers: int = 8
    batch_size: int = 10_000
    poll_s: float = 30.0
    timeout_s: float = 60.0
    patience: Patience = PATIENCE
    confirm: Callable[[Plan], bool] = lambda plan: True


async def label(queries: Sequence[Query], job: Job, options: Options) -> dict[str, str]:
    """Label `queries` into the job's output and return why those without an answer have none, by query id.

    Raises TeacherError before anything is spent where the teacher cannot be used at all.
    """
    batches = _batches(job, options)
    job.ledger.doubt_open(keep=batches.reservations if batches else ())
    left = job.open(queries)
    try:
        if not left or not options.confirm(await make_plan(job.teacher, [query.text for query in left])):
            return {query.id: "not asked" for query in left}
        with tqdm(total=len(left), unit="query", disable=None) as bar:
            return await _run(left, job, options, batches, bar.update)
    finally:
        await job.teacher.close()


def _batches(job: Job, options: Options) -> BatchLabeller | None:
    if options.mode == "batch":
        return BatchLabeller(job, options.batch_size, options.poll_s, patience=options.patience)
    if under_way(job.home):
        raise ValueError(
            f"a batch is under way for {job.out}: go on with --mode batch, or its answers are paid for twice"
        )
    return None


async def _run(
    left: list[Query], job: Job, options: Options, batches: BatchLabeller | None, tick: Callable[[], object]
) -> dict[str, str]:
    calls = SyncLabeller(job, options.workers, options.timeout_s, options.patience)
    reason = "no answer"
    try:
        # A batch's requests are checked only when it runs: one call first shows what would fail them all.
        if batches is None or not batches.batches:
            await calls.run(left if batches is None else left[:1], tick)
        if batches is not None:
            await batches.run(left, tick)
    except Stopped as stop:
        reason = str(stop)
    failed = calls.failed | (batches.failed if batches else {})
    return {query.id: failed.get(query.id, reason) for query in left if query.id not in job.written}


def summary(queries: Queries, job: Job, failed: dict[str, str]) -> str:
    """What came of it, for a person."""
    receipts = [receipt for query in queries.queries for receipt in job.answers[query.id]]
    usage = sum((Usage.from_dict(receipt.usage) for receipt in receipts), Usage())
    written = [query for query in queries.queries if query.id in job.written]
    refused = collections.Counter(job.refusal(query) for query in written)
    labelled = refused.pop(None, 0)
    spent = job.ledger.spent()
    lines = [
        f"labelled        {labelled}",
        f"refused         {refused.total()}",
        *(f"  {count:>6} {reason}" for reason, count in refused.most_common(MOST_SHOWN)),
        f"without answer  {len(failed)}",
        *(f"  {count:>6} {reason}" for reason, count in collections.Counter(failed.values()).most_common(MOST_SHOWN)),
        f"tokens          {usage.input_tokens} input, {usage.cache_read_tokens} read from the cache, "
        f"{usage.cache_write_tokens + usage.cache_write_1h_tokens} written to it, {usage.output_tokens} output",
        f"spent           {shown(spent.measured)} measured, at most {shown(spent.unsure + spent.reserved)} more "
        "for answers that never arrived",
        f"written         {job.out}",
    ]
    return "\n".join(lines)


def consent(yes: bool) -> Callable[[Plan], bool]:
    """What asks a person before money is spent, or `yes` without asking."""

    def ask(plan: Plan) -> bool:
        print(plan, flush=True)
        if yes or not any(plan.nano.values()):
            return True
        if not sys.stdin.isatty():
            print("nothing was asked: say --yes to spend without being asked", file=sys.stderr)
            return False
        return input("go on? [y/N] ").strip().lower() in ("y", "yes")

    return ask


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Have a teacher label queries.")
    parser.add_argument("queries", type=Path, help=".jsonl, .csv or .parquet with a text field, or lines of text")
    parser.add_argument("--taxonomy", type=Path, required=True, help="the taxonomy.toml with the intents")
    parser.add_argument("--teacher", default=HAIKU, help=f"{FORMS} (default %(default)s)")
    parser.add_argument("--mode", choices=("sync", "batch"), default="sync", help="batch: half the price, within a day")
    parser.add_argument("--out", type=Path, required=True, help="the output, appended to")
    parser.add_argument("--votes", type=int, default=1, help="ask so often and store the shares (default 1)")
    parser.add_argument("--second-opinion", action="store_true", help="ask again about training rows that look wrong")
    parser.add_argument("--max-usd", type=float, help="never spend more on this output, earlier runs included")
    parser.add_argument("--workers", type=int, default=8, help="calls at once (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=10_000, help="queries per batch (default %(default)s)")
    parser.add_argument("--poll-s", type=float, default=30.0, help="seconds between looks at a batch (default 30)")
    parser.add_argument("--timeout-s", type=float, default=60.0, help="limit of one call (default %(default)s)")
    parser.add_argument("--redactor", default="builtin", help="builtin, none, or MODULE:FUNCTION")
    parser.add_argument("--yes", action="store_true", help="spend without being asked")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.votes < 1 or arguments.workers < 1 or arguments.batch_size < 1:
        parser.error("--votes, --workers and --batch-size must be at least 1")
    try:
        return _main(arguments)
    except (ValueError, OSError, TeacherError, LedgerDown) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130


def _main(arguments: argparse.Namespace) -> int:
    taxonomy = Taxonomy.load(arguments.taxonomy)
    queries = read_queries(arguments.queries, load_redactor(arguments.redactor))
    teacher = open_teacher(arguments.teacher, taxonomy)
    options = Options(
        arguments.mode,
        arguments.workers,
        arguments.batch_size,
        arguments.poll_s,
        arguments.timeout_s,
        confirm=consent(arguments.yes),
    )
    with Job(arguments.out, teacher, arguments.votes, arguments.max_usd) as job:
        print(f"read            {queries.read} queries, {queries.duplicates} of them repeat another")
        failed = asyncio.run(label(queries.queries, job, options))
        if arguments.second_opinion and not failed and not job.streak.reason:
            queries = _second_opinion(queries, job)
            failed = asyncio.run(label(queries.queries, job, options))
        print(summary(queries, job, failed))
        report = job.home / "failed.json"
        report.write_text(json.dumps(failed, ensure_ascii=False, indent=1))
        if job.streak.reason:
            print(f"stopped: {job.streak.reason}", file=sys.stderr)
        if failed:
            print(f"{len(failed)} queries have no answer (why: {report}); run again to ask for them", file=sys.stderr)
    return 1 if failed or job.streak.reason else 0


def _second_opinion(queries: Queries, job: Job) -> Queries:
    from training.opinion import second_opinions

    again = second_opinions(job.out, queries.queries)
    print(f"second opinion  {len(again)} training rows that look wrong are asked about again")
    return Queries(again, len(again))


if __name__ == "__main__":
    sys.exit(main())
