"""The stages of training in order: dataset, student, export, calibrate, evaluate, publish."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import DEFAULT_TARGET, TAXONOMY, Bundle, Manifest
from inference.bundle.redact import Redactor, load_redactor, redactor_id
from inference.classifier import Classifier
from inference.common.locks import take_lock
from training.data import dataset
from training.data.dataset import Dataset
from training.evaluation import card
from training.evaluation import certificate as calibrate
from training.evaluation import report as evaluate
from training.evaluation.calibrate import calibrated
from training.evaluation.scored import Scored, score
from training.lifecycle import versions
from training.lifecycle.gate import Verdict
from training.student import export, fit
from training.student import model as student
from training.student.config import Config

LIBRARIES = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers", "numpy")
PARITY_TEXTS = 500
Judge = Callable[[Classifier], Verdict]


@dataclass(frozen=True)
class Trained:
    """The folder of a new version, and the judge's verdict on it; None where nobody judged."""

    folder: Path
    verdict: Verdict | None = None


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


def train(config: Config, judge: Judge | None = None) -> Trained:
    """Run every stage and publish the new version.

    `judge` looks at the finished bundle; a version with reasons in its verdict is kept as rejected and does not serve.

    Raises ValueError if the data or a setting is invalid, Busy if another run trains the model, ParityError if the
    exported file does not answer as the student does.
    """
    stage = Stages()
    with take_lock(config.home / ".lock", f"another run is training {config.home}"):
        with stage("dataset"):
            redact = load_redactor(config.redactor)
            data = dataset.redacted(dataset.load(config.data, fallback=config.home), redact)
            print(dataset.describe(data))
        run = _run_folder(config, data)
        with stage("student"):
            base = student.resolve_base(config.base)
            trained, tokenizer = _student(config, data, base, run)
        with stage("export"):
            classifier, parity = _exported(config, data, trained, tokenizer, redact, _fresh(run / "bundle"))
        with stage("calibrate"):
            version = versions.next_lineage_version(config.home)
            manifest, reference = calibrated(classifier, data, calibrate.lineage_delta(config.delta, version))
        with stage("evaluate"):
            classifier = classifier.at(DEFAULT_TARGET, manifest)
            report = _report(classifier, data, trained, tokenizer)
            report |= {"parity": asdict(parity), "settings": config.shown(), "tally": data.tally}
            report["calibration"] |= reference
        with stage("publish"):
            manifest = _described(manifest, config, data, base, version, report)
            _write_report(classifier.bundle.root, manifest, report | {"seconds": stage.seconds})
            verdict = judge(classifier.at(DEFAULT_TARGET, manifest)) if judge else None
            rejected = verdict.reasons if verdict else ()
            target = versions.publish(classifier.bundle.root, manifest, config.home, rejected)
            shutil.rmtree(run.parent)
    print(f"\n{stage.table()}\n\n{summary(report)}\n\n{'kept, not serving' if rejected else 'published'} {target}\n")
    if not rejected:
        print(f'next: python -m inference.classify --bundle {config.home} "I was charged twice this month"')
    return Trained(target, verdict)


def _exported(
    config: Config, data: Dataset, trained: student.Student, tokenizer: Any, redact: Redactor, draft: Path
) -> tuple[Classifier, export.Parity]:
    """The draft of a bundle, not calibrated yet, and how well it agrees with the trained student."""
    (draft / TAXONOMY).write_text(data.taxonomy.to_toml(), encoding="utf-8")
    export.write_model(trained, tokenizer, draft)
    redactor = redactor_id(config.redactor)
    manifest = Manifest(labels=data.taxonomy.names, max_tokens=config.max_tokens, redactor=redactor)
    classifier = Classifier(Bundle.draft(draft, manifest), redactor=redact)
    texts = [row.text for row in data.split("dev")[:PARITY_TEXTS]]
    parity = export.check_parity(trained, tokenizer, classifier, texts)
    print(f"int8 agrees with torch on {parity.agreement:.2%} of {parity.texts} dev texts, ", end="")
    print(f"largest difference of a probability {parity.largest_difference:.3f}")
    return classifier, parity


def _report(classifier: Classifier, data: Dataset, trained: student.Student, tokenizer: Any) -> dict[str, Any]:
    """What the shipped file shows on test, beside the torch model, and where it is weak."""
    test = score(classifier, data.split("test"))
    report = evaluate.report(classifier, test)
    report["torch_on_test"] = _torch_on_test(trained, tokenizer, test, data.taxonomy.out_of_scope)
    report["slices"] = evaluate.challenge(classifier, test, data.split("train"))
    return report


def _write_report(draft: Path, manifest: Manifest, report: dict[str, Any]) -> None:
    (draft / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    card.write_card(draft, manifest, report)


def _run_folder(config: Config, data: Dataset) -> Path:
    """Where this run keeps what it would need after a kill: the same data and settings find it again."""
    name = hashlib.sha256(f"{config.id()}\n{data.id()}".encode()).hexdigest()[:16]
    run = config.home / ".runs" / name
    run.mkdir(parents=True, exist_ok=True)
    versions.clear_drafts(config.home, keep=run)
    return run


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _student(config: Config, data: Dataset, base: student.Base, run: Path) -> tuple[student.Student, Any]:
    finished = run / "student"
    if not finished.is_dir():
        trained = fit.train(data.split("train"), data.taxonomy.names, base, config, run / "checkpoints")
        student.save(*trained, finished)
    else:
        print("already trained: continuing where the last run stopped")
    return student.load(finished, data.taxonomy.names)


def _torch_on_test(trained: student.Student, tokenizer: Any, test: Scored, outside: frozenset[str]) -> dict[str, Any]:
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
