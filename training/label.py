"""Have a teacher label queries.

    python -m training.label queries.jsonl --taxonomy data/support/taxonomy.toml --out labelled/queries.jsonl

Deduplicates, shows what it will cost, asks, labels. The output is append-only: run again after a kill, it goes on
where it was and pays for nothing twice. It stops where no query would do better: the key is wrong, the account's
credit is used up, or ten queries in a row got no usable answer; the exit status is then 1, as it is when some queries
have no answer, or none has a label.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common.commands import DONE, SOME_FAILED, Parser, command, seconds
from inference.money.prices import Usage, add_prices_flag, shown
from inference.teachers.registry import FORMS, HAIKU, open_teacher
from inference.teachers.teacher import Teacher
from training.data.rows import ours
from training.labelling.job import Job
from training.labelling.labeller import Options, consent, label
from training.labelling.queries import Queries, read_queries

MOST_SHOWN = 5


def summary(queries: Queries, job: Job, failed: dict[str, str]) -> str:
    """What came of it, for a person."""
    receipts = [receipt for query in queries.queries for receipt in job.answers[query.id]]
    usage = sum((Usage.from_dict(receipt.usage) for receipt in receipts), Usage())
    rows = job.rows()
    refused = collections.Counter(ours(rows[query.id], "refusal") for query in queries.queries if query.id in rows)
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


def _parser() -> Parser:
    parser = Parser(description="Have a teacher label queries.")
    parser.add_argument("queries", type=Path, help="a data file with a text field, or lines of text")
    parser.add_argument("--encoding", default="", help="the file's encoding, where it is not found by itself")
    parser.add_argument("--taxonomy", type=Path, required=True, help="the taxonomy.toml with the intents")
    parser.add_argument("--teacher", default=HAIKU, help=f"{FORMS} (default %(default)s)")
    parser.add_argument("--mode", choices=("sync", "batch"), default="sync", help="batch: half the price, within a day")
    parser.add_argument("--out", type=Path, required=True, help="the output file; new rows are appended")
    parser.add_argument("--votes", type=int, default=1, help="answers per query; their shares are stored (default 1)")
    parser.add_argument(
        "--second-opinion", action="store_true", help="query the teacher again for training rows that look wrong"
    )
    parser.add_argument(
        "--examples", type=Path, metavar="FILE", help="labelled rows; those most like a query are shown with it"
    )
    parser.add_argument(
        "--examples-per-query", type=int, default=8, metavar="N", help="how many are shown (default %(default)s)"
    )
    add_prices_flag(parser)
    parser.add_argument("--max-usd", type=float, help="never spend more on this output, earlier runs included")
    parser.add_argument("--workers", type=int, default=8, help="concurrent calls (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=10_000, help="queries per batch (default %(default)s)")
    parser.add_argument("--batches", type=int, default=4, help="batches under way at once (default %(default)s)")
    parser.add_argument("--poll-s", type=seconds, default=30.0, help="seconds between polls of a batch (default 30)")
    parser.add_argument(
        "--timeout-s", type=seconds, default=60.0, help="seconds that one call may take (default %(default)s)"
    )
    parser.add_argument(
        "--redactor", default="builtin", help="what removes personal data: builtin, none, or MODULE:FUNCTION"
    )
    parser.add_argument("--yes", action="store_true", help="spend without a question")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    for name in ("votes", "workers", "batch_size", "batches", "examples_per_query"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return _main(arguments)


def _main(arguments: argparse.Namespace) -> int:
    taxonomy = Taxonomy.load(arguments.taxonomy)
    if arguments.out.exists() and arguments.queries.exists() and arguments.out.samefile(arguments.queries):
        raise ValueError(f"--out {arguments.out} is the file of queries itself: give another file")
    if arguments.second_opinion:
        from training.labelling.second_opinion import check_second_opinion

        check_second_opinion()
    queries = read_queries(arguments.queries, load_redactor(arguments.redactor), arguments.encoding)
    teacher = open_teacher(arguments.teacher, taxonomy)
    if arguments.examples:
        _show(teacher, arguments, taxonomy)
    with Job(arguments.out, teacher, arguments.votes, arguments.max_usd) as job:
        print(f"read            {queries.read} queries, {queries.duplicates} of them repeat another")
        return _label(queries, job, arguments)


def _show(teacher: Teacher, arguments: argparse.Namespace, taxonomy: Taxonomy) -> None:
    from inference.teachers.http import Remote
    from training.labelling.examples import read_examples

    if not isinstance(teacher, Remote):
        raise ValueError(f"--examples needs a language model as the teacher, {teacher.name} reads no prompt")
    redact = load_redactor(arguments.redactor)
    teacher.show(read_examples(arguments.examples, taxonomy, redact, arguments.examples_per_query))


def _label(queries: Queries, job: Job, arguments: argparse.Namespace) -> int:
    options = Options(
        arguments.mode,
        arguments.workers,
        arguments.batch_size,
        arguments.batches,
        arguments.poll_s,
        arguments.timeout_s,
        confirm=consent(arguments.yes),
    )
    failed = asyncio.run(label(queries.queries, job, options))
    print(summary(queries, job, failed))
    rows = job.rows()
    labelled = any(query.id in rows and rows[query.id].get("label") for query in queries.queries)
    complete = labelled and not failed and not job.streak.reason
    if complete and arguments.second_opinion:
        again = _second_opinion(queries, job)
        failed = asyncio.run(label(again.queries, job, options)) if again else {}
        print(summary(again, job, failed) if again else "")
        complete = again is not None and not failed and not job.streak.reason
    _report(job, failed, labelled)
    return DONE if complete else SOME_FAILED


def _report(job: Job, failed: dict[str, str], labelled: bool) -> None:
    """Why queries have no answer: in a file for each, and in one line for a person."""
    report = job.home / "failed.json"
    report.write_text(json.dumps(failed, ensure_ascii=False, indent=1))
    if job.streak.reason:
        print(f"stopped: {job.streak.reason}", file=sys.stderr)
    if failed:
        hint = "run the same command again to label them"
        print(f"{len(failed)} queries have no answer (why: {report}); {hint}", file=sys.stderr)
    if not labelled:
        print("no query was labelled", file=sys.stderr)


def _second_opinion(queries: Queries, job: Job) -> Queries | None:
    from training.labelling.second_opinion import second_opinions

    try:
        again = second_opinions(job.out, queries.queries)
    except ValueError as error:  # what was labelled is paid for, and told all the same
        print(f"no second opinions: {error}", file=sys.stderr)
        return None
    print(f"second opinion  {len(again)} training rows that look wrong are labelled again")
    return Queries(again, len(again))


if __name__ == "__main__":
    sys.exit(main())
