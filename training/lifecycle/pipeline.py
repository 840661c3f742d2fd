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
from training.evaluation.summary import summary
from training.lifecycle import versions
from training.lifecycle.gate import Verdict
from training.student import export, fit
from training.student import model as student
from training.student.config import Config
from training.student.early import drop_unused, with_exit

LIBRARIES = ("torch", "transformers", "optimum-onnx", "onnx", "onnxruntime", "tokenizers", "numpy")
EXPORT_TEXTS = 500
TRIED = "tried.json"
Judge = Callable[[Classifier], Verdict]


@dataclass(frozen=True)
class Trained:
    """The folder of a new version, and the judge's verdict on it; None where nobody judged."""

    folder: Path
    verdict: Verdict | None = None

    @property
    def kept_back(self) -> bool:
        """Whether the judge keeps it from serving."""
        return self.verdict is not None and not self.verdict.published


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
            data = data or _base_data(config)
            goal = _goal(config).beside(len(data.taxonomy.targets))
            print(describe(data), shortfall(data, goal, config.data) or "", sep="\n")
        run = _run_folder(config, data)
        with stage("student"):
            trained, tokenizer = _student(config, data, base, run)
        with stage("export"):
            # No label of theirs is read: where dev is small those that trained do as well.
            texts = [row.text for row in (*data.split("dev"), *data.split("train"))[:EXPORT_TEXTS]]
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
            report |= {"parity": asdict(parity), **_circumstances(config, data, run)}
            report["calibration"] |= judged.reference
        with stage("publish"):
            lineage = {"version": look.number, "delta_spent": look.delta, **(live or {})}
            classifier = classifier.at(config.target, _described(manifest, data, base, lineage, report))
            _write_report(classifier.bundle, report | {"seconds": stage.seconds})
            published = _published(config, classifier, judge, on_trial)
            shutil.rmtree(run.parent)
    _say(stage, report, published, on_trial)
    return published


def _published(config: Config, classifier: Classifier, judge: Judge | None, on_trial: bool) -> Trained:
    """The draft as a version, which serves unless a verdict keeps it back or it is on trial."""
    verdict = judge(classifier) if judge else None
    rejected = verdict.reasons if verdict else ()
    for reason in rejected:
        print(f"not published: {reason}")
    bundle = classifier.bundle
    return Trained(versions.publish(bundle.root, bundle.manifest, config.home, rejected, on_trial), verdict)


def _say(stage: Stages, report: dict[str, Any], published: Trained, on_trial: bool) -> None:
    outcome = "kept, not serving" if published.kept_back else "on trial" if on_trial else "published"
    print(f"\n{stage.table()}\n\n{summary(report)}\n\n{outcome} {published.folder}\n")
    if outcome == "published":
        home = published.folder.parent
        print(f'next: python -m inference.classify --bundle {home} "I was charged twice this month"')


def _base_data(config: Config) -> Dataset:
    if (config.home / "live.jsonl").is_file():
        print("note: live rows are left out; python -m training.refresh trains on them and asks the gate")
    return load_data(config)


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
    export.write_model(trained, tokenizer, draft, texts)
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


def _circumstances(config: Config, data: Dataset, run: Path) -> dict[str, Any]:
    """What a report says of how its model was made."""
    tried = json.loads((run / TRIED).read_text(encoding="utf-8"))
    return {"tried": tried, "settings": config.shown(), "tally": data.tally, "data": about(data, config.data)}


def _write_report(draft: Bundle, report: dict[str, Any]) -> None:
    (draft.root / "report.json").write_text(jsonl.line(report, indent=1), encoding="utf-8")
    try:
        card.write_card(draft.root, draft.manifest, report)
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
