"""A day of traffic through the real cascade, in each deferral mode: the five figures beside their targets.

    python -m benchmarks.replay [--bundle models/clinc150] [--data DIR] [--requests 20000]
        [--stream NAME] [--deferral wait|background|never|all] [--seed 0]

What is real: the cascade with its bundle, memory cache, decision log, spend ledger and uniform sample; its own time.
What is made up, all of it seeded:

- The requests are Zipf-distributed over the texts of CLINC150's test and out-of-scope test sets, in an order drawn by
  chance. There are some 5,500, 1,000 of them out of scope: far more than in the data that certified the bundle. Of the
  requests a stated share or more have a text that did not come before. So few texts cannot give as many as that is of
  20,000, so the rest are repeats with a light edit that keeps the intent: a prefix or suffix ("hi, ", " please"), a
  capital letter, or both. A cache can answer the others at most.
- STREAMS differ in the exponent, in that share, and in how many of the requests are out of scope.
- The teacher knows the gold label, so it is never wrong, and it answers at once. The time it would have taken is drawn
  for each text, log-normal with a median of 600 ms, and added to the latency of a request that waited for it, without
  sleeping. A request that would have passed the deadline counts as the marked guess that it would have got.
- The teacher's cost is Claude Haiku 5.5's for the taxonomy's own prompt at a token for every three bytes: an estimate,
  for nothing was sent. The provider's cache is taken to hold the prompt. A call after five idle minutes has to write it
  there, and costs what is printed beside it.

The order decides how often a text comes, so the figures move with `--seed`.

In mode background requests come one after the other as fast as the machine takes them, so a repeat may come before the
teacher's answer is there. Calls, their cost included, are counted from the log, the sample's too.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.certificate import read_rows
from inference.bundle.redact import load_redactor
from inference.cascade import Answer, Cascade
from inference.classifier import Classifier
from inference.log.decision_log import DecisionLog, TeacherAnswer
from inference.money.prices import Usage, cost
from inference.serving.policy import DEFERRALS, Policy
from inference.teachers.prompt import Prompt, message
from training.evaluation.report import machine

MODEL = "claude-haiku-5-5"
BYTES_PER_TOKEN = 3
LATENCY_MS, LATENCY_SIGMA = 600.0, 0.5
UNSEEN = 0.4
OUTSIDE = "oos"
PREFIXES = ("", "hi, ", "hello, ", "hey, ", "hi there, ", "good morning, ", "ok, ", "please, ")
SUFFIXES = ("", " please", " thanks", " thank you", ", please", ", thanks", " now", " today")
EDITS = tuple(product(PREFIXES, SUFFIXES, (False, True)))[1:]


@dataclass(frozen=True)
class Kind:
    """What a stream is like: Zipf's exponent, the least share of unseen texts, and the share that is out of scope.

    `outside` None leaves that to chance: which texts are the popular ones.
    """

    exponent: float = 1.0
    unseen: float = UNSEEN
    outside: float | None = None


STREAMS = {
    "a third out of scope": Kind(),
    "10 % out of scope": Kind(outside=0.10),
    "Zipf 1.1, 25 % unseen": Kind(exponent=1.1, unseen=0.25),
}


@dataclass(frozen=True)
class Request:
    """One request of the stream. `unseen`: its text has not come before."""

    text: str
    gold: str
    unseen: bool


@dataclass(frozen=True)
class Played:
    """What a stream got: one answer and one latency for each request, and every call to the teacher."""

    stream: Sequence[Request]
    answers: Sequence[Answer]
    intents: Sequence[str | None]
    latency_ms: np.ndarray
    late: np.ndarray
    calls: Sequence[TeacherAnswer]


def make_stream(gold: Mapping[str, str], requests: int, kind: Kind | None = None, seed: int = 0) -> list[Request]:
    """Zipf over the texts of `gold`; edits make enough of them new. Raises ValueError if they cannot."""
    kind, rng = kind or Kind(), np.random.default_rng(seed)
    unseen = kind.unseen
    texts = [list(gold)[i] for i in rng.permutation(len(gold))]
    weights = popularity(np.array([gold[text] == OUTSIDE for text in texts]), kind)
    drawn = [texts[i] for i in rng.choice(len(texts), requests, p=weights)]
    first = dict(zip(reversed(drawn), range(requests - 1, -1, -1), strict=True))
    repeats = [i for i, text in enumerate(drawn) if first[text] != i]
    edited: dict[int, str] = {}
    taken = set(gold)
    edits = {text: edits_of(text, rng, taken) for text in first}
    for i in rng.permutation(repeats):
        if len(first) + len(edited) >= unseen * requests:
            break
        new = next(edits[drawn[i]], None)
        if new is not None:
            edited[int(i)] = new
    if len(first) + len(edited) < unseen * requests:
        raise ValueError(f"{len(gold)} texts and their edits do not give {unseen:.0%} of {requests} unseen requests")
    return [Request(edited.get(i, text), gold[text], first[text] == i or i in edited) for i, text in enumerate(drawn)]


def popularity(outside: np.ndarray, kind: Kind) -> np.ndarray:
    """How likely each text is, by Zipf's law in the order given, with the wanted share for those that are `outside`."""
    weights = np.arange(1, len(outside) + 1, dtype=float) ** -kind.exponent
    weights /= weights.sum()
    if kind.outside is not None:
        share = weights[outside].sum()
        weights *= np.where(outside, kind.outside / share, (1 - kind.outside) / (1 - share))
    return weights


def edits_of(text: str, rng: np.random.Generator, taken: set[str]) -> Iterator[str]:
    """Edits of `text` in an order drawn by chance; each is added to `taken`, and what is taken is left out."""
    for i in rng.permutation(len(EDITS)):
        prefix, suffix, capital = EDITS[i]
        new = prefix + text + suffix
        new = new[:1].upper() + new[1:] if capital else new
        if new not in taken:  # by another text, or by this very one where an edit changes nothing
            taken.add(new)
            yield new


def call_usage(prompt: Prompt, text: str, label: str, cached: bool = True) -> Usage:
    """The estimated tokens of one call; not `cached`, it writes the provider's cache of the prompt."""
    fixed = tokens(prompt.system + json.dumps(prompt.schema()))
    answer = tokens(json.dumps({"intent": label}))
    return Usage(tokens(message(text)), answer, 0 if cached else fixed, 0, fixed if cached else 0)


def tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)


def record(stream: Sequence[Request], classifier: Classifier, path: Path, seed: int = 0) -> dict[str, dict[str, float]]:
    """Write the teacher's answers for RecordedTeacher, and return their latency and cost by text as it is redacted."""
    rng = np.random.default_rng(seed)
    redact = load_redactor(classifier.bundle.manifest.redactor)
    prompt = Prompt.of(classifier.bundle.taxonomy)
    answers: dict[str, dict[str, float]] = {}
    with path.open("w", encoding="utf-8") as file:
        for request in stream:
            text = redact(request.text)
            if text in answers:
                continue
            usd = cost(MODEL, call_usage(prompt, text, request.gold)) / 1e9
            latency = float(rng.lognormal(math.log(LATENCY_MS), LATENCY_SIGMA))
            answers[text] = {"latency_ms": latency, "cost_usd": usd}
            file.write(json.dumps({"text": text, "label": request.gold, **answers[text]}) + "\n")
    return answers


def play(bundle: str | Path, stream: Sequence[Request], mode: str, target: float, folder: Path) -> Played:
    """The stream through a cascade with an empty cache, one request at a time."""
    classifier = Classifier.load(bundle, target)
    redact = load_redactor(classifier.bundle.manifest.redactor)
    recorded = record(stream, classifier, folder / "teacher.jsonl")
    policy = Policy(deferral=mode, target=target, log=str(folder / "log.db"), ledger=str(folder / "spend.db"))
    with Cascade.load(bundle, f"recorded:{folder / 'teacher.jsonl'}", policy=policy) as cascade:
        answers = [cascade.classify(request.text) for request in stream]
    log = DecisionLog(policy.log)
    calls = list(log.read_answers())
    log.close()
    waited = np.array([answer.source == "teacher" and answer.deferred for answer in answers])
    drawn = np.array([recorded[redact(request.text)]["latency_ms"] for request in stream])
    latency = np.array([answer.latency_ms for answer in answers]) + waited * drawn
    late = latency > policy.deadline_s * 1000
    intents = [
        classifier.predict(request.text).intent if is_late else answer.intent
        for request, answer, is_late in zip(stream, answers, late, strict=True)
    ]
    return Played(stream, answers, intents, np.minimum(latency, policy.deadline_s * 1000), late, calls)


def figures(played: Played, usd_all_teacher: float) -> dict[str, float]:
    """Every figure by its name; NaN for the share of nothing."""
    answers, n = played.answers, len(played.stream)
    right = np.array([intent == request.gold for intent, request in zip(played.intents, played.stream, strict=True)])
    inside = np.array([request.gold != OUTSIDE for request in played.stream])
    cached = np.array([answer.cached for answer in answers])
    local = np.array([answer.accepted and answer.source in ("exit", "student", "rules") for answer in answers])
    guessed = np.array([not answer.accepted for answer in answers]) | played.late
    missed = {answer.id for answer in answers if not answer.cached}
    usd = sum(call.cost_usd for call in played.calls)
    return {
        "cost per request, $": usd / n,
        "LLM call rate": len(played.calls) / n,
        "accuracy": mean(right),
        "p50 ms": float(np.percentile(played.latency_ms, 50)),
        "p95 ms": float(np.percentile(played.latency_ms, 95)),
        "p99 ms": float(np.percentile(played.latency_ms, 99)),
        "cache hit rate": mean(cached),
        "misses: LLM call rate": sum(call.request_id in missed for call in played.calls) / max(len(missed), 1),
        "misses: accuracy": mean(right[~cached]),
        "accepted locally": mean(local),
        "accepted locally: accuracy": mean(right[local]),
        "misses: accepted locally": mean(local[~cached]),
        "misses: their accuracy": mean(right[local & ~cached]),
        "  in scope": mean(right[local & ~cached & inside]),
        "marked guesses": mean(guessed),
        "marked guesses: accuracy": mean(right[guessed]),
        "  of them past the deadline": mean(played.late),
        "cost / all-teacher": usd / usd_all_teacher,
    }


def mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


TARGETS = {
    "cost per request, $": ("<", 0.0001),
    "LLM call rate": ("<", 0.30),
    "accuracy": (">", 0.95),
    "p95 ms": ("<", 200.0),
    "cache hit rate": (">", 0.60),
}


def verdict(name: str, value: float) -> str:
    if name not in TARGETS:
        return ""
    sign, bound = TARGETS[name]
    return "met" if (value < bound if sign == "<" else value > bound) else "missed"


def shown(name: str, value: float) -> str:
    if "$" in name:
        return f"{value:.7f}"
    return f"{value:.2f}" if name.endswith(" ms") else f"{value:.1%}"


def print_table(columns: Mapping[str, Mapping[str, float]]) -> None:
    print(f"{'':<29}{'target':<11}" + "".join(f"{mode:>11}{'':8}" for mode in columns))
    for name in next(iter(columns.values())):
        sign, bound = TARGETS.get(name, ("", 0.0))
        target = f"{sign} {bound:g}" if sign else ""
        cells = [f"{shown(name, column[name]):>11} {verdict(name, column[name]):<7}" for column in columns.values()]
        print(f"{name:<29}{target:<11}{''.join(cells)}".rstrip())


def missed(columns: Mapping[str, Mapping[str, float]], cacheable: float) -> Iterator[str]:
    """A line on every target that a deferral mode missed: why it is out of reach in this stream."""
    for mode, column in columns.items():
        reasons = {
            "cost per request, $": f"{column['LLM call rate']:.1%} of requests are asked about",
            "LLM call rate": f"the student may answer {column['misses: accepted locally']:.1%} of what is not cached",
            "accuracy": f"{column['marked guesses']:.1%} of answers are marked guesses, right in "
            f"{column['marked guesses: accuracy']:.1%}; the local ones in {column['accepted locally: accuracy']:.1%}",
            "p95 ms": f"{column['LLM call rate']:.1%} of requests are asked about, and these wait; under 5 % need be",
            "cache hit rate": f"at most {cacheable:.1%} of requests can be cached, and deferred ones are "
            f"where a teacher answered: {column['cache hit rate']:.1%}",
        }
        for name in TARGETS:
            if verdict(name, column[name]) == "missed":
                yield f"{mode}, {name} missed: {reasons[name]}"


def describe(classifier: Classifier, example: Request) -> None:
    """What all streams have in common."""
    prompt = Prompt.of(classifier.bundle.taxonomy)
    warm, cold = (call_usage(prompt, example.text, example.gold, cached) for cached in (True, False))
    counted = f"{warm.cache_read_tokens} + {warm.input_tokens} + {warm.output_tokens} tokens (prompt, query, answer)"
    p95 = LATENCY_MS * math.exp(1.645 * LATENCY_SIGMA)
    print(f"{machine()}, requests one after the other\n")
    print(f"teacher: gold labels, simulated; {LATENCY_MS:.0f} ms median, {p95:.0f} ms p95, are added and not slept")
    print(f"cost of a call, estimated at {MODEL}'s prices: {counted}, ${cost(MODEL, warm) / 1e9:.7f};")
    print(f"${cost(MODEL, cold) / 1e9:.7f} where it writes the provider's cache")


def describe_stream(name: str, stream: Sequence[Request], gold: Mapping[str, str], all_teacher: float) -> float:
    """Print what a stream is like; the share of requests that a cache could answer."""
    new, n = [request for request in stream if request.unseen], len(stream)
    edited = sum(request.text not in gold for request in new)
    outside = sum(request.gold == OUTSIDE for request in stream) / n
    print(f"\n{name}: {n} requests of {len(gold)} texts; {outside:.1%} are out of scope")
    print(
        f"{len(new) / n:.1%} have a text not seen before: {len(new) - edited} as in the data, {edited} lightly edited;"
    )
    print(
        f"{1 - len(new) / n:.1%} at most can be cached. The teacher asked for all: ${all_teacher / n:.7f} a request\n"
    )
    return 1 - len(new) / n


def teach_all(stream: Sequence[Request], classifier: Classifier) -> float:
    """Dollars for asking the teacher for every request."""
    prompt = Prompt.of(classifier.bundle.taxonomy)
    return sum(cost(MODEL, call_usage(prompt, request.text, request.gold)) for request in stream) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="models/clinc150")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/clinc150"))
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--stream", choices=STREAMS, help="one of them; all where it is not given")
    parser.add_argument("--deferral", choices=[*DEFERRALS, "all"], default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", type=float, default=0.95, help="which certificate an accepted answer has")
    arguments = parser.parse_args()
    gold = dict(read_rows(arguments.data, ("test.jsonl", "oos_test.jsonl")))
    classifier = Classifier.load(arguments.bundle, arguments.target)
    modes = DEFERRALS if arguments.deferral == "all" else (arguments.deferral,)
    describe(classifier, Request(*next(iter(gold.items())), True))
    for name in [arguments.stream] if arguments.stream else STREAMS:
        stream = make_stream(gold, arguments.requests, STREAMS[name], arguments.seed)
        all_teacher = teach_all(stream, classifier)
        cacheable = describe_stream(name, stream, gold, all_teacher)
        columns = {}
        for mode in modes:
            with tempfile.TemporaryDirectory() as folder:
                played = play(arguments.bundle, stream, mode, arguments.target, Path(folder))
            columns[mode] = figures(played, all_teacher)
        print_table(columns)
        print("", *missed(columns, cacheable), sep="\n")


if __name__ == "__main__":
    main()
