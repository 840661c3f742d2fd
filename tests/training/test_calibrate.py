from dataclasses import replace
from pathlib import Path

import pytest

from inference.bundle.taxonomy import Rule
from inference.classifier import Classifier
from tests.ruled import add_rules
from training.data.rows import Row
from training.evaluation.calibrate import reference
from training.evaluation.scored import score


@pytest.mark.parametrize(("live", "unit"), [(False, "texts"), (True, "requests")])
def test_drift_is_measured_against_the_students_own_answers_where_no_rule_answers(
    live: bool, unit: str, tiny_home: Path, tmp_path: Path
) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny", Rule("0.96", "account", ("stop",)))
    rows = [Row(text, text, "unknown") for text in ("stop the zebra", "find the zebra", "find the comet")]
    rows = [replace(row, request=f"r{i}" if live else "") for i, row in enumerate(rows)]
    classifier = Classifier.load(home)
    found = reference(classifier, score(classifier, rows))
    own = [classifier.best_guess(row.text)[0] for row in rows[1:]]
    assert found["intent_mix"] == {name: own.count(name) for name in own}
    assert sum(found["confidence_histogram"]) == 2
    assert found["unit"] == unit
