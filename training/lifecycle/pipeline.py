"""The stages of training in order: dataset, student, export, calibrate, evaluate, publish."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle.manifest import TAXONOMY, Bundle, Manifest
from inference.bundle.redact import load_redactor, redactor_id
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from inference.common import jsonl
from inference.common.locks import take_lock
from training.data import dataset
from training.data.about import about
from training.data.advice import shortfall
from training.data.dataset import Dataset
from training.data.describe import describe
from training.data.kept import splits_home
from training.data.looks import BaseLooks, Look, Looks, look_delta
from training.data.sizes import Goal
from training.evaluation import card
from training.evaluation import report as evaluate
from training.evaluation.calibrate import calibrated
from training.evaluation.growth import more_labels
from training.evaluation.scored import Scored, score, serve
from training.lifecycle import versions
from training.lifecycle.gate import Verdict
from training.student import export, fit
from training.student import model as student
from training.student.config import Config
from training.student.early import drop_unused, with_exit

LIBRARIES = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers", "numpy")
PARITY_TEXTS = 500
TRIED = "tried.json"
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


def train(
    config: Config,
    judge: Judge | None = None,
    data: Dataset | None = None,
    looks: Looks | None = None,
    live: Mapping[str, float] | None = None,
    on_trial: bool = False,
) -> Trained:
    """Run every stage and publish the new version.

    `judge` looks at the finished bundle; a version with reasons in its verdict is kept as rejected and does not serve.
    `data` is what `config.data` names unless it is given, redacted and split; `looks` counts the looks at its
    calibration rows, by default beside the splits of `config.data`. `live` says, in seconds since 1970, how new the
    data's live rows are: `live_until`, up to when they hold persons' corrections (a cascade that serves the version
    gives up its cached ones of before), and `recent_since`, since when enough requests calibrate to end an alarm.
    `on_trial` a version that passes answers beside the serving one, in the log alone.

    Raises ValueError if the data or a setting is invalid, Busy if another run trains the model, ParityError if the
    exported file does not answer as the student does.
    """
    stage = Stages()
    with take_lock(config.home / ".lock", f"another run is training {config.home}"):
        base = student.resolve_base(config.base)
        student.check_base(base, config.max_tokens)
        with stage("dataset"):
            if data is None and (config.home / "live.jsonl").is_file():
                print("note: live rows are left out; python -m training.refresh trains on them and asks the gate")
            data = data or load_data(config)
            goal = _goal(config).beside(len(data.taxonomy.targets))
            print(describe(data), shortfall(data, goal, config.data) or "", sep="\n")
        run = _run_folder(config, data)
        with stage("student"):
            trained, tokenizer = _student(config, data, base, run)
        with stage("export"):
            # Nothing is fitted to these texts: where dev is small those that trained do as well.
            texts = [row.text for row in (*data.split("dev"), *data.split("train"))[:PARITY_TEXTS]]
            draft = _fresh(run / "bundle")
            classifier, parity = exported(config, data.taxonomy, texts, trained, tokenizer, draft)
        with stage("exit"):
            classifier = with_exit(classifier, data, config.noisy_copies, config.seed)
        with stage("calibrate"):
            look = _look(config, data, classifier, looks or base_looks(config))
            manifest, judged = calibrated(classifier, data, config.target, look.delta)
            drop_unused(draft, manifest)
        with stage("evaluate"):
            classifier = classifier.at(config.target, manifest)
            report = _report(classifier, data, trained, tokenizer)
            report["more_labels"] = _more_labels(classifier, data, judged.scored, _goal(config, look.number + 1))
            report["tried"] = json.loads((run / TRIED).read_text(encoding="utf-8"))
            report |= {"parity": asdict(parity), "settings": config.shown(), "tally": data.tally}
            report["data"] = about(data, config.data)
            report["calibration"] |= judged.reference
        with stage("publish"):
            lineage: dict[str, Any] = {"version": look.number, "delta_spent": look.delta}
            lineage |= live or {}
            manifest = _described(manifest, data, base, lineage, report)
            _write_report(classifier.bundle.root, manifest, report | {"seconds": stage.seconds})
            verdict = judge(classifier.at(config.target, manifest)) if judge else None
            rejected = verdict.reasons if verdict else ()
            for reason in rejected:
                print(f"not published: {reason}")
            target = versions.publish(classifier.bundle.root, manifest, config.home, rejected, on_trial)
            shutil.rmtree(run.parent)
    outcome = "kept, not serving" if rejected else "on trial" if on_trial else "published"
    _say(stage, report, outcome, target)
    return Trained(target, verdict)


def _say(stage: Stages, report: dict[str, Any], outcome: str, target: Path) -> None:
    print(f"\n{stage.table()}\n\n{summary(report)}\n\n{outcome} {target}\n")
    if outcome == "published":
        print(f'next: python -m inference.classify --bundle {target.parent} "I was charged twice this month"')


def load_data(config: Config) -> Dataset:
    """The data that `config` names, redacted and split. Raises ValueError if they are invalid."""
    redact = load_redactor(config.redactor)
    return dataset.load(config.data, redact, config.home, goal=_goal(config), reading=config.reading)


def _goal(config: Config, look: int = 1) -> Goal:
    return Goal(config.target, look_delta(config.delta, look))


def base_looks(config: Config) -> BaseLooks:
    """The looks at the calibration rows of the data that `config` names."""
    home = splits_home(Path(config.data), config.home) or config.home
    return BaseLooks(home, after=versions.next_lineage_version(config.home) - 1)


def _look(config: Config, data: Dataset, classifier: Classifier, looks: Looks) -> Look:
    """This model's look at the calibration rows, written down before they are scored; none where there are no rows."""
    if not data.split("calibration"):
        return Look(0, 0.0)
    settings = [data.id(), config.max_tokens, config.redactor, config.target, config.delta]
    files = classifier.bundle.model + (classifier.bundle.exit or b"")
    return looks.spend(config.delta, hashlib.sha256(files + json.dumps(settings).encode()).hexdigest())


def exported(
    config: Config, taxonomy: Taxonomy, texts: Sequence[str], trained: student.Student, tokenizer: Any, draft: Path
) -> tuple[Classifier, export.Parity]:
    """The draft of a bundle, not calibrated yet, and how well it agrees with the trained student on `texts`."""
    (draft / TAXONOMY).write_text(taxonomy.to_toml(), encoding="utf-8")
    export.write_model(trained, tokenizer, draft)
    redactor = redactor_id(config.redactor)
    manifest = Manifest(labels=taxonomy.names, max_tokens=config.max_tokens, redactor=redactor)
    classifier = Classifier(Bundle.draft(draft, manifest), redactor=load_redactor(config.redactor))
    parity = export.check_parity(trained, tokenizer, classifier, texts)
    print(f"int8 agrees with torch on {parity.agreement:.2%} of {parity.texts} texts, ", end="")
    print(f"largest difference of a probability {parity.largest_difference:.3f}")
    return classifier, parity


def _report(classifier: Classifier, data: Dataset, trained: student.Student, tokenizer: Any) -> dict[str, Any]:
    """What the shipped file shows on test, beside the torch model, and where it is weak."""
    test = score(classifier, data.split("test"))
    report, test = evaluate.report(classifier, test), test.answered()
    report["unseen"] = evaluate.unseen(test, data.split("train"))
    report["torch_on_test"] = _torch_on_test(trained, tokenizer, test, data.taxonomy.out_of_scope)
    report["slices"] = evaluate.challenge(classifier, test, data.split("train"))
    return report


def _more_labels(classifier: Classifier, data: Dataset, scored: Sequence[Scored], goal: Goal) -> list[dict[str, Any]]:
    """What more labels would buy, by the rows that judge: those that are one trial each. `scored` lacks test's."""
    judging = [*scored, score(classifier, data.trials("test"))]
    labels = len(data.trials("train")) + sum(len(part.rows) for part in judging)
    own = classifier.bundle.taxonomy.targets
    return more_labels([serve(classifier, part).beside(own) for part in judging], labels, goal.beside(len(own)))


def _write_report(draft: Path, manifest: Manifest, report: dict[str, Any]) -> None:
    (draft / "report.json").write_text(jsonl.line(report, indent=1), encoding="utf-8")
    try:
        card.write_card(draft, manifest, report)
    except Exception as error:  # whatever a name or a figure does to the card, the model is as good as without one
        print(f"warning: no model card: {type(error).__name__}: {error}", file=sys.stderr)


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
        names, dev = data.taxonomy.names, data.trials("dev")
        trained, tokenizer, tried = fit.train(data.split("train"), names, base, config, run / "checkpoints", dev)
        (run / TRIED).write_text(json.dumps(tried), encoding="utf-8")
        student.save(trained, tokenizer, finished)
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
    manifest: Manifest, data: Dataset, base: student.Base, lineage: dict[str, Any], report: dict[str, Any]
) -> Manifest:
    return replace(
        manifest,
        unit=data.unit,
        reference=data.reference,
        teacher=data.teacher,
        dataset=data.id(),
        base={"name": base.name, "sha256": base.sha256},
        lineage=lineage,
        metrics={name: report[name] for name in ("rows", "accuracy", "macro_f1")},
        libraries=libraries(),
    )


def libraries() -> dict[str, str]:
    """The versions of the libraries that make a bundle, as its manifest has them."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def summary(report: dict[str, Any]) -> str:
    """The short table at the end of a run."""
    outside, latency = report["out_of_scope"], report["latency_ms"]
    rows = [("test accuracy", f"{report['accuracy']:.1%} of {report['rows']} rows, macro-F1 {report['macro_f1']:.1%}")]
    if outside:
        figures = f"accuracy {outside['in_scope_accuracy']:.1%}, AUROC against out of scope {outside['auroc']:.4f}"
        rows.append(("in scope", figures))
    rows += [(f"certified at {c['target']:.0%}", _certified(c)) for c in report["certificates"]]
    own = report["intent_certificates"]
    rows += [(f"{one['intent']} at {one['target']:.1%}", card.own_target(one)) for one in own]
    rows.append(("latency", f"p50 {latency['p50']:.2f} ms, p95 {latency['p95']:.2f} ms, one thread"))
    rows.append(("model file", f"{report['model_bytes'] / 1e6:.1f} MB"))
    rows += [(f"next: {one['labels']} labels", card.bought(one)) for one in report["more_labels"]]
    return "\n".join(f"{name:<20}{value}" for name, value in rows)


def _certified(certificate: dict[str, Any]) -> str:
    if certificate["accept_above"] is None:
        return "nothing: defer everything"
    exits = f", {certificate['test_exits']:.1%} of test by the exit" if certificate["test_exits"] else ""
    coverage = f"accepts {certificate['coverage']:.1%} of calibration, {certificate['test_coverage']:.1%} of test"
    return f"{coverage}, right on {card.percent(certificate['test_agreement'])} of these{exits}"
