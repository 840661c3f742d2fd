"""One round of relabel and retrain: collect, label, train, judge."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from inference.common.commands import DONE, KEPT
from inference.common.files import write_atomically
from inference.common.locks import take_lock
from inference.common.settings import setting
from inference.log.decision_log import DecisionLog
from inference.money.prices import dollars
from inference.teachers.registry import FORMS, open_teacher
from training.data import dataset
from training.data.rows import text_key
from training.data.splits import SPLITS, pick
from training.labelling.labeller import answers_for
from training.labelling.queries import read_queries
from training.lifecycle import traffic as live
from training.lifecycle import versions
from training.lifecycle.champion import compare
from training.lifecycle.choose import choose
from training.lifecycle.gate import Verdict
from training.lifecycle.pipeline import load_data, train
from training.lifecycle.traffic import Harvest, LiveRow
from training.student.config import Config


@dataclass(frozen=True)
class Options:
    """What a refresh needs beside the settings of training."""

    log: str = setting("", "decision log: a file or postgresql:// URL; by default the one with the model", secret=True)
    taxonomy: str = setting("", "taxonomy.toml, where there is no base data yet")
    queries: str = setting("", "a file of further, unlabelled queries to choose from")
    teacher: str = setting("", f"labels what has no answer yet: {FORMS}")
    budget: int = setting(200, "how many of --queries may be labelled per round")
    max_usd: float | None = setting(None, "hard cap for labelling, over all rounds")
    least_new: int = setting(50, "new labelled rows that make a round worthwhile")
    least_calibration: int = setting(500, "sampled requests from which on the live sample judges")
    half_life_days: float = setting(0.0, "days in which the weight of a live training row halves; 0: never")
    human_weight: float = setting(1.0, "weight of a person's correction in training")
    keep: int = setting(5, "versions that are kept")
    from_data: bool = setting(True, "whether --data names labelled data to start from")


@dataclass
class Summary:
    """What a refresh did, for a person and as JSON."""

    outcome: str = "nothing new"
    round: int = 0
    chosen: dict[str, int] = field(default_factory=dict)
    labelled: int = 0
    usd: float = 0.0
    version: str | None = None
    reasons: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return KEPT if self.outcome == "kept" else DONE


class Refresh:
    """One refresh of one model."""

    def __init__(self, config: Config, options: Options) -> None:
        self.config, self.options, self.home = config, options, config.home
        self.state = _read_state(self.home)
        self.round = int(self.state.get("round", 0)) + 1
        self.suspect: list[int] = list(self.state.get("suspect", []))
        self.summary = Summary(round=self.round)
        redact = load_redactor(config.redactor)
        self.base = dataset.load(config.data, redact, self.home, whole=False) if options.from_data else None
        self.taxonomy = self._taxonomy()
        self.salt = config.model_name

    def _taxonomy(self) -> Taxonomy:
        if self.options.taxonomy:
            return Taxonomy.load(Path(self.options.taxonomy))
        if self.base is not None:
            return self.base.taxonomy
        if versions.serving(self.home):
            return Classifier.load(self.home).bundle.taxonomy
        raise ValueError(f"{self.home} has no bundle yet and no base data: give --taxonomy")

    def run(self, dry: bool) -> Summary:
        """Collect, label, train, judge. Each step is on disk before the next begins."""
        known = live.read_live(self.home)
        until = time.time()
        found = self._harvest(known, until)
        self.summary.chosen = dict(found.tally)
        wanted = [*found.unanswered, *self._choose(known, found)]
        if dry:
            self._price(wanted)
            return self.summary
        answers = self._label(wanted)
        rows = self._merged(known, found, answers)
        new = [row for row in rows if row.round == self.round]
        if len(new) < max(1, self.options.least_new):
            self.summary.reasons = [f"{len(new)} new labelled rows are too few, a round needs {self.options.least_new}"]
            return self.summary
        live.write_live(self.home, rows)
        rows = live.in_use(rows)
        if missing := self._missing(rows):
            self.summary.outcome, self.summary.reasons = "not enough yet", missing
            return self.summary
        self._train(rows)
        self._finish(until)
        return self.summary

    def _harvest(self, known: Sequence[LiveRow], until: float) -> Harvest:
        log = DecisionLog(self.options.log or self.home / "decisions.db")
        # A round that was killed after its rows were kept goes on with them; their repeats are not counted again.
        done = [row for row in known if row.round < self.round]
        return live.harvest(log, done, float(self.state.get("until", 0.0)), until, self.round, self.salt)

    def _choose(self, known: Sequence[LiveRow], found: Harvest) -> list[str]:
        """Of the unlabelled file, the queries that the champion is least sure of, its intents taking turns."""
        if not self.options.queries:
            return []
        redact = load_redactor(self.config.redactor)
        taken = {row.key for row in known} | {row.key for row in found.rows} | {row.key for row in self._base_rows()}
        texts = [
            query.text for query in read_queries(Path(self.options.queries), redact).queries if query.key not in taken
        ]
        chosen = choose(self._champion(), texts, self.options.budget)
        self.summary.chosen[f"chosen from {self.options.queries}"] = len(chosen)
        return chosen

    def _base_rows(self) -> Sequence[dataset.Row]:
        return self.base.rows if self.base else ()

    def _champion(self) -> Classifier | None:
        if not versions.serving(self.home):
            return None
        return Classifier.load(self.home, redactor=load_redactor(self.config.redactor))

    def _price(self, texts: Sequence[str]) -> None:
        self.summary.outcome = "dry run"
        self.summary.chosen["to be labelled"] = len(texts)
        if texts and self.options.teacher:
            teacher = open_teacher(self.options.teacher, self.taxonomy)
            self.summary.usd = dollars(sum(teacher.worst_case(text) for text in texts))

    def _label(self, texts: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Answers by query key for what had none, through training.label: resumable, capped, paid for once."""
        if not texts or not self.options.teacher:
            return {}
        teacher = open_teacher(self.options.teacher, self.taxonomy)
        wanted = {text_key(text): text for text in texts}
        found = answers_for(wanted, teacher, self.home / "labelled.jsonl", self.options.max_usd)
        answers = {key: row for key, row in found.rows.items() if row["label"] is not None}
        self.summary.usd, self.summary.labelled = dollars(found.nano), len(answers)
        if found.failed:
            self.summary.chosen["left without an answer"] = len(found.failed)
        return answers

    def _merged(self, known: Sequence[LiveRow], found: Harvest, answers: dict[str, dict[str, Any]]) -> list[LiveRow]:
        # A round that goes on after a kill has counted its repeats already.
        repeats = Counter() if any(row.round == self.round for row in known) else found.repeats
        rows = {row.key: replace(row, requests=row.requests + repeats[row.key]) for row in known}
        for row in found.rows:  # a round that goes on after a kill finds its own rows again: they stay as they are
            rows.setdefault(row.key, row)
        sampled = {text_key(text) for text, flag in found.unanswered.items() if flag}
        for key, answer in answers.items():
            if key not in rows:
                split = pick(key, live.SAMPLE_SHARES, self.salt) if key in sampled else "train"
                said = (answer["text"], answer["label"], answer["labeler"], answer["prompt_id"])
                rows[key] = LiveRow(key, *said, split, self.round, time.time())
        return list(rows.values())

    def _missing(self, rows: Sequence[LiveRow]) -> list[str]:
        """What is still needed before a student can be trained and judged."""
        missing = []
        have, need = live.calibration_requests(rows), self.options.least_calibration
        judges = self.base is not None and all(self.base.split(name) for name in SPLITS)
        if not judges and have < need:
            missing.append(f"{have} of {need} sampled requests for calibration")
        trained = {row.label for row in rows if row.split == "train"}
        trained |= {row.label for row in self._base_rows() if row.split == "train"}
        absent = sorted(set(self.taxonomy.names) - trained)
        if absent:
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            missing.append(f"no training row yet for {', '.join(absent[:5])}{more}")
        return missing

    def _train(self, rows: Sequence[LiveRow]) -> None:
        names = set(self.taxonomy.names)
        kept = [row for row in rows if row.label in names and set(row.shares or ()) <= names]
        if len(kept) < len(rows):
            self.summary.chosen["left out: of an intent that is gone"] = len(rows) - len(kept)
        rows = kept
        folder = self.home / ".refresh" / "data"
        shutil.rmtree(folder, ignore_errors=True)
        options = self.options
        live.compose(self.base, rows, folder, options.least_calibration, options.half_life_days, options.human_weight)
        (folder / "taxonomy.toml").write_text(self.taxonomy.to_toml(), encoding="utf-8")
        config = replace(self.config, data=str(folder), name=self.config.model_name)
        data = live.per_request(load_data(config))
        trained = train(config, lambda challenger: self._judge(challenger, rows), data)
        self.summary.version = trained.folder.name
        if trained.verdict is not None:
            self._record(trained.verdict)
        versions.prune(self.home, options.keep)

    def _judge(self, challenger: Classifier, rows: Sequence[LiveRow]) -> Verdict:
        """The gate's verdict on rows that neither side was trained on."""
        held_out = live.held_out(self.base, rows, self.round, self.suspect)
        verdict = compare(self._champion(), challenger, held_out, self.config.target)
        for reason in verdict.reasons:
            print(f"not published: {reason}")
        return verdict

    def _record(self, verdict: Verdict) -> None:
        # Labels of a round whose student is significantly worse may be why: a student trained on some of them would do
        # well on the others. Once a student that was trained on them passes, they are cleared.
        worse = [self.round] if verdict.significantly_worse else []
        self.suspect = [] if verdict.published else [*self.suspect, *worse]
        self.summary.figures, self.summary.reasons = dict(verdict.figures), list(verdict.reasons)
        self.summary.outcome = "published" if verdict.published else "kept"

    def _finish(self, until: float) -> None:
        self.state = {"round": self.round, "suspect": self.suspect, "until": until, "last": asdict(self.summary)}
        write_atomically(self.home / "refresh.json", json.dumps(self.state, indent=1).encode(), private=True)


def _read_state(home: Path) -> dict[str, Any]:
    path = home / "refresh.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to read the whole log again") from error


def refresh(config: Config, options: Options, dry: bool = False) -> Summary:
    """Refresh one model. Raises Busy if another refresh or training is at work, ValueError if data or a
    setting is invalid.
    """
    with take_lock(config.home / ".refresh.lock", f"another refresh of {config.home} is at work"):
        return Refresh(config, options).run(dry)


def drop_round(config: Config, number: int) -> int:
    """Stop using the teachers' labels of a round; how many they were.

    Raises Busy if a refresh is at work, ValueError if there are none.
    """
    with take_lock(config.home / ".refresh.lock", f"another refresh of {config.home} is at work"):
        count = live.drop_round(config.home, number)
    if not count:
        raise ValueError(f"{config.home} uses no teachers' labels of round {number}")
    return count
