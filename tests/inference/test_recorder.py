import contextlib
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Rule
from inference.cascade import Cascade
from inference.log.counts import confidence_bin
from inference.log.decision_log import DecisionLog
from inference.serving.answer import Answer, Request
from inference.serving.recorder import Recorder
from inference.serving.sample import Draw
from inference.serving.tier import NO_GUESS
from tests.ruled import add_rules


def test_drift_counts_the_students_confidence_and_no_rules(tiny_home: Path, tmp_path: Path) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))
    with Cascade.load(home) as cascade:
        for _ in range(2):  # the second time from the cache
            assert cascade.classify("stop the zebra").source == "rules"
        confidence = cascade.classify("find the zebra").confidence
    counts = list(DecisionLog(home / "decisions.db").read_counts())
    assert [(count.key, count.n) for count in counts if count.kind == "confidence"] == [
        (str(confidence_bin(confidence)), 1)
    ]
    assert {(count.key, count.n) for count in counts if count.kind == "requests"} == {("all", 3)}


def test_of_repeated_ids_the_newest_request_is_remembered(tmp_path: Path) -> None:
    with contextlib.closing(DecisionLog(tmp_path / "log.db")) as log:
        recorder = Recorder(log, str, remembered=2)
        for name, text in (("a", "one"), ("b", "two"), ("a", "three"), ("c", "four")):
            recorder.record(*answered(name, text))
        recorder.correct("a", "account", None)
        with pytest.raises(KeyError, match="'b' is no longer remembered"):
            recorder.correct("b", "account", None)
    (row,) = log.read_corrections()
    assert (row.request_id, row.text) == ("row of three", "three")


def answered(name: str, text: str) -> tuple[Request, Answer]:
    request = Request(Draw(f"row of {text}", 0.5, 0.0, ""), name, text, text, 0.0, NO_GUESS, None)
    return request, Answer(request.id, "account", None, True, "teacher", False, False, 0.0, 1.0, None)
