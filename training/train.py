"""`python -m training.train`: labelled queries in, a certified bundle out.

The stages, in order: dataset, student, export, calibrate, evaluate, publish. A run that was killed goes on from the
last epoch when it is started again with the same data and dials; nothing half-written is ever served.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from inference.bundle import TAXONOMY, Bundle, Certificate, Manifest
from inference.classifier import Classifier
from inference.pending import CONFIDENCE_BINS
from inference.redact import Redactor, load_redactor
from inference.rules import measure
from training import calibrate, card, dataset, evaluate, export, publish, student
from training.config import Config, parse
from training.dataset import Dataset
from training.lock import Busy, take_lock

LIBRARIES = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers", "numpy")
PARITY_TEXTS = 500
FULL_DISK = 1 << 20


Judge = Callable[[Classifier], list[str]]


class Stages:
    """Prints each stage as it starts, and remembers how long it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        print(f"[{name}]", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def table(self) -> str:
        rows = [*self.seconds.items(), ("all", sum(self.seconds.values()))]
        return "\n".join(f"{name:<12}{seconds:8.1f} s" for name, seconds in rows)


def train(config: Config, judge: Judge | None = None) -> Path:
    """Run every stage and return the folder of the published version.

    `judge` looks at the finished bundle and gives reasons not to let it serve; it is then kept as rejected.

    Raises ValueError for data or dials that are off, Busy if another run has the model, ParityError if the exported
    file does not answer as the student does.
    """
    stage = Stages()
    with take_lock(config.home / ".lock", f"another run is training {config.home}"):
        with stage("dataset"):
            redact = load_redactor(config.redactor)
            data = dataset.redacted(dataset.load(config.data, fallback=config.home), redact)
            print(dataset.describe(data))
        run = _run_folder(config, data)
        labels = data.taxonomy.names
        with stage("student"):
            base = student.resolve_base(config.base)
            trained, tokenizer = _student(config, data, base, run)
        with stage("export"):
            draft = _fresh(run / "bundle")
            (draft / TAXONOMY).write_text(data.taxonomy.to_toml(), encoding="utf-8")
            export.write_model(trained, tokenizer, draft)
            manifest = Manifest(labels=labels, max_tokens=config.max_tokens, redactor=config.redactor)
            texts = [row.text for row in data.split("dev")[:PARITY_TEXTS]]
            parity = export.check_parity(trained, tokenizer, _classifier(draft, manifest, redact), texts)
            print(f"int8 agrees with torch on {parity.agreement:.2%} of {parity.texts} dev texts, ", end="")
            print(f"largest difference of a probability {parity.largest_difference:.3f}")
        with stage("calibrate"):
            version = publish.next_lineage_version(config.home)
            delta = calibrate.lineage_delta(config.delta, version)
            manifest, reference = _calibrated(draft, manifest, data, delta, redact)
        with stage("evaluate"):
            classifier = _classifier(draft, manifest, redact)
            test = evaluate.score(classifier, data.split("test"))
            report = evaluate.report(test, data.taxonomy.out_of_scope, manifest.certificates, draft)
            report |= {"parity": asdict(parity), "dials": asdict(config), "tally": data.tally}
            report["calibration"] |= reference
            report["torch_on_test"] = _torch_on_test(trained, tokenizer, test, data.taxonomy.out_of_scope)
            report["slices"] = evaluate.challenge(classifier, test, data.split("train"), classifier.certificate)
        with stage("publish"):
            manifest = _described(manifest, config, data, base, version, report)
            report["seconds"] = stage.seconds
            (draft / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
            card.write_card(draft, manifest, report)
            rejected = judge(_classifier(draft, manifest, redact)) if judge else []
            target = publish.publish(draft, manifest, config.home, rejected)
            shutil.rmtree(run.parent)
    print(f"\n{stage.table()}\n\n{summary(report)}\n\n{'kept, not serving' if rejected else 'published'} {target}\n")
    if rejected:
        return target
    print(f'next: python -m inference.classify --bundle {config.home} "I was charged twice this month"')
    return target


def _run_folder(config: Config, data: Dataset) -> Path:
    """Where this run keeps what it would need after a kill: the same data and dials find it again."""
    name = hashlib.sha256(f"{config.id()}\n{data.id()}".encode()).hexdigest()[:16]
    run = config.home / ".runs" / name
    run.mkdir(parents=True, exist_ok=True)
    publish.clear_drafts(config.home, keep=run)
    return run


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _student(config: Config, data: Dataset, base: student.Base, run: Path) -> tuple[student.Student, Any]:
    finished = run / "student"
    if not finished.is_dir():
        trained = student.train(data.split("train"), data.taxonomy.names, base, config, run / "checkpoints")
        student.save(*trained, finished)
    else:
        print("trained already: going on from where the last run was killed")
    return student.load(finished, data.taxonomy.names)


def _classifier(draft: Path, manifest: Manifest, redact: Redactor) -> Classifier:
    return Classifier(Bundle.draft(draft, manifest), redactor=redact)


def _calibrated(
    draft: Path, manifest: Manifest, data: Dataset, delta: float, redact: Redactor
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest with the temperature and the rules' confidences from dev, and the certificates from calibration.

    With what live traffic is compared with later: the calibration rows' confidences and intents.
    """
    raw = evaluate.score(_classifier(draft, manifest, redact), data.split("dev"))
    temperature = calibrate.fit_temperature(np.log(np.maximum(raw.probabilities, 1e-300)), raw.reference)
    measured = measure(data.taxonomy.rules, [row.text for row in raw.rows], [row.label for row in raw.rows])
    manifest = replace(manifest, temperature=temperature, rules=measured)
    classifier = _classifier(draft, manifest, redact)
    scored = [evaluate.score(classifier, data.split(name)) for name in ("dev", "calibration")]
    found: list[Certificate] = []
    for target in calibrate.TARGETS:
        dev, calibration = (_per_request(part.local(target)) for part in scored)
        found += calibrate.certificates(dev, calibration, delta, (target,))
    return replace(manifest, certificates=tuple(found)), _reference(scored[1])


def _reference(calibration: evaluate.Scored) -> dict[str, Any]:
    bins, _ = np.histogram(calibration.confidence, CONFIDENCE_BINS, (0, 1))
    mix = Counter(calibration.labels[i] for i in calibration.predicted)
    return {"confidence_histogram": bins.tolist(), "intent_mix": dict(mix)}


def _per_request(part: evaluate.Scored) -> tuple[np.ndarray, np.ndarray]:
    """Scores and correctness, a row once for every sampled request that it stands for (once where it is no traffic)."""
    times = [int(row.extra.get("requests", 1)) for row in part.rows]
    return np.repeat(part.confidence, times), np.repeat(part.correct, times)


def _torch_on_test(
    trained: student.Student, tokenizer: Any, test: evaluate.Scored, outside: frozenset[str]
) -> dict[str, Any]:
    """What int8 cost: the torch model's own accuracy on test, and how often the shipped file gives the same label."""
    predicted = export.torch_probabilities(trained, tokenizer, [row.text for row in test.rows]).argmax(1)
    inside = np.array([row.label not in outside for row in test.rows])

    def figures(rows: np.ndarray) -> dict[str, float]:
        theirs = predicted[rows]
        same, right = theirs == test.predicted[rows], theirs == test.reference[rows]
        return {"agreement": float(same.mean()), "accuracy": float(right.mean())}

    return {**figures(np.ones(len(inside), bool)), "in_scope": figures(inside) if inside.any() else {}}


def _described(
    manifest: Manifest, config: Config, data: Dataset, base: student.Base, version: int, report: dict[str, Any]
) -> Manifest:
    return replace(
        manifest,
        unit="requests" if any("requests" in row.extra for row in data.split("calibration")) else "distinct queries",
        reference=data.reference,
        teacher=data.teacher,
        dataset=data.id(),
        base={"name": base.name, "sha256": base.sha256},
        lineage={"version": version, "delta_spent": calibrate.lineage_delta(config.delta, version)},
        metrics={name: report[name] for name in ("rows", "accuracy", "macro_f1")},
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
    )


def summary(report: dict[str, Any]) -> str:
    """The short table at the end of a run."""
    outside, latency = report["out_of_scope"], report["latency_ms"]
    rows = [("test accuracy", f"{report['accuracy']:.1%} of {report['rows']} rows, macro-F1 {report['macro_f1']:.1%}")]
    if outside:
        figures = f"accuracy {outside['in_scope_accuracy']:.1%}, AUROC against out of scope {outside['auroc']:.4f}"
        rows.append(("in scope", figures))
    rows += [(f"certified at {c['target']:.0%}", _certified(c)) for c in report["certificates"]]
    rows.append(("latency", f"p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, one thread"))
    rows.append(("model file", f"{report['model_bytes'] / 1e6:.1f} MB"))
    return "\n".join(f"{name:<20}{value}" for name, value in rows)


def _certified(certificate: dict[str, Any]) -> str:
    if certificate["accept_above"] is None:
        return "nothing: defer everything"
    coverage = f"accepts {certificate['coverage']:.1%} of calibration, {certificate['test_coverage']:.1%} of test"
    return f"{coverage}, right on {card.percent(certificate['test_agreement'])} of these"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    config = parse(argv, "Train a student on labelled queries and publish it as a certified bundle.")
    transformers.logging.set_verbosity_error()
    try:
        train(config)
    except (ValueError, OSError, Busy, export.ParityError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        # On a full disk the libraries fail in words of their own, each in another way.
        if shutil.disk_usage(config.home).free > FULL_DISK:
            raise
        print(f"error: no space left under {config.models} ({error}); nothing was published", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
