"""One round of relabel and retrain: collect, label, train, judge."""

from __future__ import annotations

import collections
import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from inference.bundle import versions
from inference.bundle.manifest import Bundle
from inference.bundle.redact import load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.classifier import Classifier
from inference.common.files import write_atomically
from inference.common.locks import take_lock
from inference.log.lookout import RECENT
from training.data import dataset
from training.data.rows import Row, text_key
from training.data.splits import SPLITS
from training.labelling.queries import read_queries
from training.lifecycle import live
from training.lifecycle.anchor import Anchor, read_anchor, write_anchor
from training.lifecycle.asking import Wanted, answered, ask, asked_as, price, unanswered
from training.lifecycle.champion import Opponent, at, compare, worst_case
from training.lifecycle.choose import choose
from training.lifecycle.compose import compose, held_out, requests
from training.lifecycle.gate import Verdict
from training.lifecycle.harvest import Harvest, harvest
from training.lifecycle.live import UNANSWERED, LiveRow
from training.lifecycle.options import Options, Summary
from training.lifecycle.questions import follow, read_steps, renamed
from training.lifecycle.state import FILE, open_log, read_before, read_state, recent_since, told_of
from training.lifecycle.versions import prune
from training.lifecycle.window import LIVE_LOOKS, Sample, WindowLooks
from training.lifecycle.window import sample as draw
from training.student.config import Config

OF_ANOTHER_QUESTION = "live rows under another taxonomy, left out: training.change would take them along"


class Refresh:
    """One refresh of one model. A `dry` one writes nothing."""

    def __init__(self, config: Config, options: Options, dry: bool = False) -> None:
        self.config, self.options, self.home, self.dry = config, options, config.home, dry
        self.state = read_state(self.home)
        self.round = int(self.state.get("round", 0)) + 1
        self.suspect: list[int] = list(self.state.get("suspect", []))
        self.summary = Summary(round=self.round)
        self.anchor: Anchor | None = None
        self.changed = False  # the serving bundle answers another question
        self.on_trial = False  # a version that passes does not serve yet
        self.suspended: list[str] = []  # what is said of promises that are suspended: this round goes first
        self.calibrating = 0
        self.redact = load_redactor(config.redactor)
        self.base = self._base() if options.from_data else None
        self.taxonomy = self._taxonomy()
        self.question = self.taxonomy.question_id()
        self.steps = read_steps(config.data) if options.from_data else []

    def _base(self) -> dataset.Dataset:
        reading, remember = self.config.reading, not self.dry
        return dataset.load(self.config.data, self.redact, self.home, False, reading=reading, remember=remember)

    def _taxonomy(self) -> Taxonomy:
        if self.options.taxonomy:
            return Taxonomy.load(Path(self.options.taxonomy))
        if self.base is not None:
            return self.base.taxonomy
        if (served := self._served_taxonomy()) is not None:
            return served
        raise ValueError(f"{self.home} has no bundle yet and no base data: give --taxonomy")

    def _served_taxonomy(self) -> Taxonomy | None:
        return Bundle.load(self.home).taxonomy if versions.serving(self.home) else None

    def run(self) -> Summary:
        """Collect, label, train, judge. Each step is on disk before the next begins."""
        until = time.time()
        rows, wanted = self._collect(until)
        if self.dry:
            self.summary.outcome = "dry run"
            self.summary.chosen["to be labelled"] = len(wanted)
            self.summary.usd = price(wanted, self.options.teacher, self.taxonomy)
            return self.summary
        rows = self._ask(rows, wanted)
        new = [row for row in rows if row.round == self.round and row.why != UNANSWERED]
        if len(new) < max(1, 0 if self.suspended else self.options.least_new) and not self.changed:
            self.summary.reasons += [
                f"{len(new)} new labelled rows are too few, a round needs {self.options.least_new}"
            ]
            return self.summary
        live.write_live(self.home, rows)
        known = live.in_use(rows)
        used = [row for row in known if row.question == self.question]
        if len(used) < len(known):
            self.summary.chosen[OF_ANOTHER_QUESTION] = len(known) - len(used)
        sample = self._sample(used)
        if missing := self._missing(used, sample):
            self.summary.outcome = "not enough yet"
            self.summary.reasons += missing
            return self.summary
        self._train(used, sample, until)
        self._finish(until)
        return self.summary

    def _collect(self, until: float) -> tuple[list[LiveRow], Wanted]:
        """Known and new rows under today's question, and what a teacher is to be asked."""
        first = (self._served_taxonomy() or self.taxonomy).question_id()
        self.changed = first != self.question
        known = follow(live.read_live(self.home), self.steps, self.question, first)
        # A round that was killed after its rows were kept goes on with them.
        asked = (self.round, self.question, self.config.model_name)
        log = open_log(self.options.log, self.home, self.summary.reasons)
        since = read_before(self.state, until, self.summary.reasons)
        self.suspended = told_of(log, until, self.question) if log else []
        self.summary.reasons += self.suspended
        found = harvest(log, known.rows, since, until, *asked) if log else Harvest()
        new = follow(found.rows, self.steps, self.question, first)
        rows = {row.identity: row for row in (*known.rows, *new.rows)}
        self.summary.chosen = dict(found.tally)
        if known.mapped:
            self.summary.chosen["mapped to the new taxonomy"] = known.mapped
        texts = {asked_as(rows.get(key, _text(key, text))): text for key, text in found.unanswered.items()}
        texts |= {asked_as(rows[name]): text for name, text in (known.ask | new.ask).items() if not rows[name].request}
        texts |= {text_key(text): text for text in self._choose(list(rows.values()))}
        holes = unanswered(list(rows.values()), self.question)
        return list(rows.values()), Wanted({asked_as(row): row.text for row in holes}, texts)

    def _choose(self, rows: Sequence[LiveRow]) -> list[str]:
        """Of the unlabelled file, the queries that the champion is least sure of, its intents taking turns."""
        if not self.options.queries:
            return []
        taken = {row.key for row in rows} | {row.key for row in (self.base.rows if self.base else ())}
        read = read_queries(Path(self.options.queries), self.redact).queries
        chosen = choose(self._champion(), [q.text for q in read if q.key not in taken], self.options.budget)
        self.summary.chosen[f"chosen from {self.options.queries}"] = len(chosen)
        return chosen

    def _champion(self, version: str = "") -> Classifier | None:
        if not versions.serving(self.home):
            return None
        return Classifier.load(self.home / version, redactor=self.redact)

    def _ask(self, rows: list[LiveRow], wanted: Wanted) -> list[LiveRow]:
        """The rows with the answers of a teacher. What it refuses trains nothing, but stays in the sample."""
        options = self.options
        out = self.home / "labelled.jsonl"
        asked = ask(wanted, options.teacher, self.taxonomy, out, options.max_usd, options.sample_share)
        self.summary.usd = asked.usd
        self.summary.labelled = sum(answer["label"] is not None for answer in asked.answers.values())
        if asked.failed:
            self.summary.failed = self.summary.chosen["left without an answer"] = len(asked.failed)
            [(why, _)] = collections.Counter(asked.failed).most_common(1)
            self.summary.reasons.append(f"{len(asked.failed)} texts have no answer, most often: {why}")
        merged = {row.identity: row for row in rows}
        known = {asked_as(row): row for row in rows}
        for name, answer in asked.answers.items():
            row = known.get(name) or _text(name, answer["text"])
            if row.request or answer["label"] is not None:
                merged[row.identity] = answered(row, answer, self.round, self.question)
        return list(merged.values())

    def _sample(self, rows: Sequence[LiveRow]) -> Sample | None:
        """The requests that judge; None while they are too few."""
        options = self.options
        found = draw(rows, self.question, self.suspect, options.window, options.least_calibration)
        self.summary.chosen |= found.tally
        if found.holes:
            self.summary.chosen["hours cut out for unanswered requests"] = found.hours
            self.summary.chosen["unanswered requests"] = len(found.holes)
        self.calibrating = len(found.split("calibration"))
        enough = self.calibrating >= options.least_calibration and found.complete
        return found if enough else None

    def _every(self, rows: Sequence[LiveRow]) -> Sample:
        """The requests for the gate, which are no calibration: a window may be full of this round's."""
        return draw(rows, self.question, self.suspect, len(rows), self.options.least_calibration)

    def _missing(self, rows: Sequence[LiveRow], sample: Sample | None) -> list[str]:
        """What is still needed before a student can be trained and judged."""
        missing = []
        judges = self.base is not None and all(self.base.split(name) for name in SPLITS)
        if not judges and sample is None:
            need = self.options.least_calibration
            missing.append(f"{self.calibrating} of {need} sampled requests for calibration")
        trained = {row.label for row in rows if row.split == "train"}
        trained |= {row.label for row in (self.base.rows if self.base else ()) if row.split == "train"}
        absent = sorted(set(self.taxonomy.names) - trained)
        if absent and len(trained) < 2:  # with two, the others are never accepted as an answer until they have rows
            more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
            missing.append(f"no training row yet for {', '.join(absent[:5])}{more}")
        return missing

    def _train(self, rows: Sequence[LiveRow], sample: Sample | None, until: float) -> None:
        from training.lifecycle.pipeline import train  # torch and what it brings: a dry run reads the log alone

        options = self.options
        shutil.rmtree(self.home / ".refresh" / "data", ignore_errors=True)  # texts that versions before 0.3.0 left
        data = compose(self.base, rows, sample, self.taxonomy, options.half_life_days, options.human_weight)
        looks, times = None, [row.time for row in sample.split("calibration")] if sample is not None else []
        if sample is not None:
            looks = WindowLooks(self.home / LIVE_LOOKS, times, options.window)
        config = replace(self.config, name=self.config.model_name)
        held = (*held_out(self.base, rows, sample and self._every(rows), self.round, self.suspect), requests(sample))
        live_since = {"live_until": until} | ({RECENT: recent_since(times)} if sample is not None else {})
        self.on_trial = options.shadow and not self.changed and versions.serving(self.home) is not None
        trained = train(config, lambda one: self._judge(one, *held), data, looks, live_since, self.on_trial)
        self.summary.version = trained.folder.name
        if sample is not None and sample.holes:
            challenger = at(Classifier.load(trained.folder, redactor=self.redact), config.target)
            self.summary.chosen |= worst_case(challenger, sample)
        if trained.verdict is not None:
            self._record(trained.verdict, sample)
        anchor = read_anchor(self.home)
        prune(self.home, options.keep, keep_too=anchor.version if anchor else "")

    def _judge(
        self, challenger: Classifier, rows: Sequence[Row], base: Sequence[Row], promised: Sequence[Row]
    ) -> Verdict:
        """The gate's verdict, on rows that neither side was trained on."""
        champion, serving = self._champion(), versions.serving(self.home) or ""
        if champion is None:
            return compare(None, challenger, rows, self.config.target)
        opponent, self.anchor = self._opponent(champion), read_anchor(self.home)
        if self.anchor is None:
            self.anchor = Anchor(serving, champion.bundle.taxonomy.question_id())
        against = None
        if self.anchor.question == self.question:
            best = champion if self.anchor.version == serving else self._champion(self.anchor.version) or champion
            against = (self._opponent(best), self.anchor.level)
        # Counted before it is known how the test ends: a killed run has looked too.
        write_anchor(self.home, replace(self.anchor, tested=self.anchor.tested + 1))
        return compare(opponent, challenger, rows, self.config.target, base, against, promised)

    def _opponent(self, classifier: Classifier) -> Opponent:
        asked = classifier.bundle.taxonomy.question_id()
        return Opponent(classifier, renamed(self.steps, asked, self.question) if asked != self.question else None)

    def _record(self, verdict: Verdict, sample: Sample | None) -> None:
        # Labels of a round whose student is significantly worse may be why: a student trained on some of them would do
        # well on the others. Once a student that was trained on them passes, they are cleared.
        worse = [self.round] if verdict.significantly_worse else []
        self.suspect = [] if verdict.published else [*self.suspect, *worse]
        self.summary.figures = dict(verdict.figures)
        self.summary.reasons += verdict.reasons
        passed = "on trial" if self.on_trial else "published"
        self.summary.outcome = passed if verdict.published else "kept"
        version = self.summary.version or ""
        anchor = self.anchor or Anchor(version, self.question)
        if verdict.published and (self.anchor is None or verdict.gained or anchor.question != self.question):
            write_anchor(self.home, Anchor(version, self.question))

    def _finish(self, until: float) -> None:
        self.state = {"round": self.round, "suspect": self.suspect, "until": until, "last": asdict(self.summary)}
        write_atomically(self.home / FILE, json.dumps(self.state, indent=1).encode(), private=True)


def _text(key: str, text: str) -> LiveRow:
    """A text that has no row yet."""
    return LiveRow(key, text, "", "", "", "train", 0, time.time(), why=UNANSWERED)


def refresh(config: Config, options: Options, dry: bool = False) -> Summary:
    """Refresh one model. Raises Busy if another refresh or training is at work, ValueError if data or a
    setting is invalid. A `dry` refresh writes nothing, not even a lock.
    """
    doing = f"another refresh of {config.home} is at work"
    with contextlib.nullcontext() if dry else take_lock(config.home / ".refresh.lock", doing):
        return Refresh(config, options, dry).run()


def drop_round(config: Config, number: int) -> int:
    """Stop using the teachers' labels of a round; how many they were.

    Raises Busy if a refresh is at work, ValueError if there are none.
    """
    with take_lock(config.home / ".refresh.lock", f"another refresh of {config.home} is at work"):
        count = live.drop_round(config.home, number, time.time())
    if not count:
        raise ValueError(f"{config.home} uses no teachers' labels of round {number}")
    return count
