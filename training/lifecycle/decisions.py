"""What persons decide about labels: which rows they may still be shown, and their decisions as corrections."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from inference.bundle.manifest import Bundle
from inference.bundle.redact import Redactor
from inference.bundle.taxonomy import Taxonomy
from inference.common import jsonl
from inference.common.places import spill_folder
from inference.common.text import canonical
from inference.log.decision_log import Correction, DecisionLog
from training.data import dataset
from training.data.rows import Row, text_key
from training.lifecycle.compose import text_row
from training.lifecycle.live import in_use, read_live
from training.lifecycle.state import open_log
from training.student.config import Config

FROM_SUSPECTS = "suspects"  # the request of a correction that is of a text, and of no request


def to_look_at(config: Config, log: str, redact: Redactor) -> tuple[list[Row], Taxonomy]:
    """The rows that train and about which no person has decided, of base data and traffic, and their taxonomy.

    Raises ValueError where there is neither base data nor a bundle.
    """
    base = dataset.load(config.data, redact, config.home, whole=False, remember=False) if config.data else None
    taxonomy = base.taxonomy if base else Bundle.load(config.home).taxonomy
    live = [row for row in in_use(read_live(config.home)) if row.split == "train"]
    decided = {row.key.partition(":")[0] for row in live if row.human} | _newest(log, config.home).keys()
    rows = {row.key: row for row in (base.split("train") if base else ()) if row.gold is None}
    rows |= {row.key: text_row(row) for row in live if row.question in ("", taxonomy.question_id())}
    fitting = (row for row in rows.values() if row.label in taxonomy.names and row.labeler != "human")
    return [row for row in fitting if row.key not in decided], taxonomy


def _newest(given: str, home: Path) -> dict[str, Correction]:
    """The newest correction of each text in the log, by the text's key."""
    log = open_log(given, home, [])
    if log is None:
        return {}
    return {text_key(row.text): row for row in log.read_corrections()}


def decide(home: Path, given: str, file: Path, taxonomy: Taxonomy, spill: Path | None = None) -> int:
    """Write a file's decisions as corrections to the decision log, or to `spill` while it is down; how many are new.

    Taking a file again adds nothing. Raises ValueError, naming the line, if one is invalid: none is written then.
    """
    known = _newest(given, home)
    read = {text_key(text): (text, intent) for text, intent in _read(file, taxonomy)}
    new = {key: one for key, one in read.items() if key not in known or known[key].intent != one[1]}
    with contextlib.closing(DecisionLog(given or home / "decisions.db", spill=spill_folder(spill, home))) as log:
        for text, intent in new.values():
            log.keep(Correction(FROM_SUSPECTS, time.time(), text, intent, taxonomy.question_id())).result()
    return len(new)


def _read(file: Path, taxonomy: Taxonomy) -> Iterator[tuple[str, str]]:
    found = []
    for place, values in jsonl.read(file):
        text, decision = values.get("text"), values.get("decision")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{place}: text must be a non-empty string, got {text!r}")
        if decision is None or decision == "":
            continue
        if not isinstance(decision, str) or canonical(decision) not in taxonomy.names:
            known = ", ".join(taxonomy.names)
            raise ValueError(f"{place}: decision must be an intent ({known}) or null, got {decision!r}")
        found.append((text, canonical(decision)))
    return iter(found)
