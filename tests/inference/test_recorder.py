from pathlib import Path

from inference.bundle.taxonomy import Rule
from inference.cascade import Cascade
from inference.log.counts import confidence_bin
from inference.log.decision_log import DecisionLog
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
