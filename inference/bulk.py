"""Classify whole files, with every core: what is not accepted goes to a file of its own, ready for a teacher.

    python -m inference.bulk --bundle models/support queries.jsonl --out answers.jsonl
    python -m training.label answers.deferred.jsonl --taxonomy models/support/current/taxonomy.toml --out labelled.jsonl

Reads JSON Lines, CSV, TSV and Parquet, gzipped or not, files, folders and URLs that fsspec knows; writes the same, as
the ending of --out says. Every row comes out once, in order and with its other fields kept, as `inference.classify
--jsonl` has them; a row that cannot be read comes out with an `error`, and the exit status is then 1. A run that was
killed goes on where it was if the same command is run again. With --engine ray the cores are those of a Ray cluster
(extra `ray`), and the output is the same. Needs the extra `bulk`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.batch import cluster, output, parts, processes
from inference.batch.records import exists, place, safe, sources
from inference.classifier import Classifier
from inference.common.commands import DONE, SOME_FAILED, Parser, command, count, naming_full_disk
from inference.common.cores import cores
from inference.common.extras import library
from inference.common.files import private_folder
from inference.common.locks import take_lock
from inference.common.places import is_url


def _parser() -> Parser:
    parser = Parser(description="Classify whole files with a local bundle, by all cores.")
    parser.add_argument("data", nargs="+", help="files, folders or URLs: JSON Lines, CSV, TSV, Parquet, also gzipped")
    parser.add_argument("--bundle", required=True, help="the model to use: models/<name>, or the folder of one version")
    parser.add_argument("--out", required=True, help="the file or URL for the answers; its ending is the format")
    parser.add_argument("--deferred", help="the file or URL for the rows that are not accepted (default: beside --out)")
    parser.add_argument("--text", default="text", help="the field that holds the text (default %(default)s)")
    parser.add_argument("--target", type=float, help="use the certificate for this agreement")
    parser.add_argument(
        "--engine",
        choices=("processes", "ray"),
        default="processes",
        help="who classifies: processes of this machine, or a Ray cluster (extra `ray`; default %(default)s)",
    )
    parser.add_argument("--address", help="the Ray cluster: HOST:PORT or auto (default: one of this machine alone)")
    parser.add_argument(
        "--workers", type=count, metavar="N", help="processes, of one core each (default: every core that there is)"
    )
    parser.add_argument(
        "--part-rows", type=count, default=1000, metavar="N", help="rows that a process takes at once (default 1000)"
    )
    parser.add_argument("--work", type=Path, help="the folder for an unfinished run (default: beside --out)")
    return parser


@command(resumes=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.address and arguments.engine != "ray":
        parser.error("--address is of a Ray cluster: give --engine ray too")
    out = arguments.out
    plain = out.removesuffix(".gz")
    write = output.writer(Path(plain).suffix.lower())
    left = arguments.deferred or f"{plain.removesuffix(Path(plain).suffix)}.deferred.jsonl"
    output.check_deferred(left)
    home = Path(place(str(arguments.work or _beside(out))))  # by its one name, as two runs in it would meet
    own = {place(str(home)), *map(place, (out, left)), *(place(str(output.draft(Path(one)))) for one in (out, left))}
    library("filelock", "bulk")  # named with its extra if it is missing
    with contextlib.ExitStack() as held:
        held.enter_context(_alone(home, out))
        held.enter_context(naming_full_disk(home))
        _check_places(out, left, home)
        if not is_url(out) and home != (other := Path(place(str(_beside(out))))):
            held.enter_context(_alone(other, out))  # nor is another run, whatever its folder, writing this output
        private_folder(home)
        found = _run(arguments, home, own, [_named(out), _named(left)])
        output.written(left, home, found, output.write_deferred)
        output.written(out, home, found, write)
        counts = output.counts(home, found)
        parts.end(home)
    print(_summary(counts, safe(out), safe(left)), file=sys.stderr)
    return SOME_FAILED if counts["errors"] else DONE


def _alone(home: Path, out: str) -> contextlib.AbstractContextManager[Any]:
    """No other run has this folder. Raises Busy if one does."""
    return take_lock(home.with_name(f".{home.name}.lock"), f"another run is writing {safe(out)}")


def _beside(out: str) -> Path:
    if is_url(out):
        raise ValueError("--out is a URL: give --work, the folder here that holds an unfinished run")
    return Path(f"{out}.parts")


def _check_places(out: str, left: str, home: Path) -> None:
    """Nothing that is there may be replaced or deleted. Raises ValueError if something would be."""
    if place(out) == place(left):
        raise ValueError(f"--out and --deferred are both {safe(out)}: give two names")
    own = parts.outputs(home) if parts.begun(home) else []
    for one in (out, left):
        if not is_url(one) and home in Path(one).absolute().resolve().parents:
            raise ValueError(f"{one} is in {home}, which is deleted in the end: give a place outside of it")
        if _named(one) not in own and exists(one):
            raise ValueError(f"{safe(one)} exists already: a run never replaces a file; remove it or give another name")
        if not is_url(one):
            Path(one).absolute().parent.mkdir(parents=True, exist_ok=True)


def _named(output: str) -> str:
    """An output as its run has it written down."""
    return safe(place(output))


def _run(arguments: Any, home: Path, own: Container[str], outputs: Sequence[str]) -> int:
    """Classify what has no part yet; the number of parts."""
    root, bundle_id, target = _checked(arguments.bundle, arguments.target)
    found = sources(arguments.data, own)
    if arguments.engine == "ray" and is_url(arguments.bundle):
        root = arguments.bundle  # each machine of the cluster fetches its own copy
    run = parts.Run(home, found, arguments.text, arguments.part_rows, root, bundle_id, target, outputs)
    parts.begin(run)
    with _bar() as done:
        return _engine(arguments)(run, done)


def _engine(arguments: Any) -> parts.Engine:
    if arguments.engine == "ray":
        return functools.partial(cluster.classify, address=arguments.address, workers=arguments.workers)
    return functools.partial(processes.classify, workers=arguments.workers or cores())


def _checked(bundle: str, target: float | None) -> tuple[str, str, float]:
    """A bundle's folder, its id and the target: an invalid one is told here, not by a worker. No model stays open."""
    found = Classifier.load(bundle, target).bundle
    return str(found.root.absolute()), found.manifest.bundle_id, found.manifest.target if target is None else target


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[int], object]]:
    with library("tqdm", "bulk").tqdm(desc="classifying", unit=" rows", unit_scale=True, disable=None) as bar:
        yield bar.update


def _summary(counts: Mapping[str, int], out: str, left: str) -> str:
    rows = sum(counts.values())
    by = ", ".join(f"{counts[source]:,} by the {source}" for source in ("rules", "exit", "student") if counts[source])
    accepted = rows - counts["deferred"] - counts["errors"]
    failed = f"; {counts['errors']:,} could not be read" if counts["errors"] else ""
    return (
        f"{rows:,} rows in {out}: {accepted:,} accepted{f' ({by})' if by else ''}, "
        f"{counts['deferred']:,} not accepted, in {left}{failed}"
    )


if __name__ == "__main__":
    sys.exit(main())
