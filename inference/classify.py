"""Classify from the command line: one text, or a stream of lines.

    python -m inference.classify --bundle models/support "I was charged twice"
    python -m inference.classify --bundle models/support --jsonl < queries.jsonl

With --jsonl every line is a JSON object with a `text` field, or plain text. Every line gets a line of JSON, at once, in
the same order and with its other fields kept; `given` keeps those whose names the answer needs. A line that cannot be
read gets an error line that names it; the exit status is then 1 (see inference/common/commands.py for all of them).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from inference.classifier import Classifier, Prediction
from inference.common import jsonl
from inference.common.commands import DONE, SOME_FAILED, Parser, command
from inference.common.text import repair


def shown(prediction: Prediction) -> dict[str, Any]:
    """What is printed of one answer."""
    return {
        "intent": prediction.intent,
        "confidence": round(prediction.confidence, 6),
        "accepted": prediction.accepted,
        "source": prediction.source,
        "alternatives": {intent: round(share, 6) for intent, share in prediction.alternatives},
    }


def answer_lines(classifier: Classifier, lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """One answer per line; one with an `error` field for a line that cannot be read."""
    for number, line in enumerate(lines, 1):
        try:
            fields = read_line(line)
        except ValueError as error:
            yield {"line": number, "error": str(error)}
            continue
        yield with_answer(fields, shown(classifier.predict(fields["text"])))


def with_answer(fields: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """A row's own fields and its answer; `given` keeps those of its fields whose names the answer needs."""
    if not fields.keys() & found.keys():
        return {**fields, **found}
    given = {name: value for name, value in fields.items() if name in found or name == "given"}
    return {**fields, "given": given, **found}


def read_line(line: bytes) -> dict[str, Any]:
    """The fields of a line: a JSON object's, or `text` alone for plain text. Raises ValueError if it is invalid."""
    text = jsonl.decode(line)
    if not text.lstrip().startswith("{"):
        return {"text": text}
    fields = jsonl.parse(text)
    if not isinstance(fields.get("text"), str):
        raise ValueError(f"expected a string in the field `text`, its fields are {', '.join(fields) or 'none'}")
    return fields


def write(values: dict[str, Any]) -> None:
    """Print one line of JSON at once, so that a pipe sees every answer as it comes."""
    line = jsonl.line(values, ensure_ascii=False)
    sys.stdout.buffer.write(repair(line).encode("utf-8") + b"\n")
    sys.stdout.buffer.flush()


def stream(classifier: Classifier, source: BinaryIO) -> int:
    """Answer every line of `source`; the exit status is 1 if one could not be read."""
    failed = 0
    for values in answer_lines(classifier, source):
        failed += "error" in values and "intent" not in values
        write(values)
    if failed:
        print(f"{failed} lines could not be read; each has an error line", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def _parser() -> Parser:
    parser = Parser(description="Classify a text, or a stream of lines, with a local bundle.")
    parser.add_argument("text", nargs="?", help="the text to classify")
    parser.add_argument("--bundle", required=True, help="the model to use: models/<name>, or the folder of one version")
    parser.add_argument(
        "--jsonl",
        action="store_true",
        help="read queries from standard input, one a line; print a line of JSON for each",
    )
    parser.add_argument(
        "--target",
        type=float,
        help="use the certificate for this agreement (default: what the bundle was trained for)",
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for one text (default %(default)s)")
    return parser


@command()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.jsonl == (arguments.text is not None):
        parser.error("give either a text or --jsonl")
    classifier = Classifier.load(arguments.bundle, arguments.target, arguments.threads)
    if arguments.jsonl:
        return stream(classifier, sys.stdin.buffer)
    write({"text": arguments.text, **shown(classifier.predict(arguments.text))})
    return DONE


if __name__ == "__main__":
    sys.exit(main())
