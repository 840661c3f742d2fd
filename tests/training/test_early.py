import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle.manifest import EXIT, Bundle, resolve
from inference.classifier import Classifier
from tests.tiny import TAXONOMY, tiny_rows
from training.data.dataset import Dataset
from training.data.rows import Row
from training.evaluation.calibrate import calibrated
from training.evaluation.exits import FEWEST_ROWS
from training.evaluation.report import certified_on_test
from training.evaluation.scored import score, serve
from training.student.early import drop_unused, with_exit


def divided(dev: int) -> Dataset:
    """The tiny data with so many dev rows; two thirds of the rest train, one calibrates."""
    rows = tiny_rows()
    places = ["dev"] * dev + ["train", "train", "calibration"] * len(rows)
    found = [Row(str(i), row["text"], row["label"], split=places[i]) for i, row in enumerate(rows)]
    return Dataset(tuple(found), TAXONOMY, {}, ())


@pytest.fixture
def draft(tiny_home: Path, tmp_path: Path) -> Classifier:
    """A bundle that is not calibrated yet."""
    root = shutil.copytree(resolve(tiny_home), tmp_path / "draft")
    manifest = replace(Bundle.load(tiny_home).manifest, temperature=1.0, certificates=())
    return Classifier(Bundle.draft(root, manifest))


def test_a_draft_gets_an_exit_that_the_certificates_then_use(draft: Classifier) -> None:
    data = divided(FEWEST_ROWS + 20)
    found = with_exit(draft, data, copies=1, seed=0)
    dev = data.split("dev")
    shares = [found.exit_probabilities(row.text) for row in dev]
    said = [None if share is None else found.labels[share.argmax()] for share in shares]
    assert np.mean([name == row.label for name, row in zip(said, dev, strict=True)]) > 0.9
    manifest, _ = calibrated(found, data, 0.90, delta=0.5)
    certificate = manifest.certificates[0]
    assert certificate.exit_above is not None
    drop_unused(draft.bundle.root, manifest)
    assert (draft.bundle.root / EXIT).is_file()
    served = found.at(0.90, manifest)
    shown = certified_on_test(certificate, serve(served, score(served, dev)))
    answers = served.predict_many([row.text for row in dev])
    assert shown["test_exits"] == np.mean([answer.source == "exit" for answer in answers]) > 0.1


def test_where_dev_is_too_small_or_nothing_calibrates_there_is_none(draft: Classifier) -> None:
    small, alone = divided(FEWEST_ROWS - 1), divided(FEWEST_ROWS + 20)
    alone = replace(alone, rows=tuple(row for row in alone.rows if row.split != "calibration"))
    for data in (small, alone):
        assert with_exit(draft, data, copies=1, seed=0) is draft
    assert not (draft.bundle.root / EXIT).exists()


def test_an_exit_that_no_certificate_uses_is_not_shipped(draft: Classifier) -> None:
    root = draft.bundle.root
    (root / EXIT).write_bytes(b"")
    drop_unused(root, draft.bundle.manifest)
    drop_unused(root, draft.bundle.manifest)
    assert not (root / EXIT).exists()
