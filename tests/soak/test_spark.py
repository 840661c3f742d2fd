"""The recipe for Spark in docs/how-to/scale.md, run as it stands there."""

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inference.classifier import Classifier
from tests.documents import ROOT, blocks

SPARK = importlib.util.find_spec("pyspark")
pytestmark = [pytest.mark.soak, pytest.mark.skipif(SPARK is None, reason="PySpark is not installed (make soak does)")]
WORDS = ("refund", "the", "invoice", "reset", "my", "password", "please", "ticket", "ünï", "zebra", "now")


def test_the_recipe_classifies_as_the_classifier_does_and_collects_what_is_deferred(
    tiny_home: Path, tmp_path: Path
) -> None:
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Java is not installed (Debian: apt-get install default-jre-headless)")
    (block,) = (one for one in blocks(ROOT / "docs/how-to/scale.md") if one.title == "classify.py")
    (tmp_path / "classify.py").write_text(block.text)
    shutil.copytree(tiny_home, tmp_path / "models" / "support")
    rng = random.Random(0)
    texts = [None, "", *(" ".join(rng.choices(WORDS, k=rng.randrange(1, 9))) for _ in range(300))]
    rows = [{"id": i, "text": text} for i, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "queries.parquet")
    local = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "classify.py"], cwd=tmp_path, env={**os.environ, **local}, check=True, timeout=900)
    kept = [row for row in rows if row["text"] is not None]
    wanted = list(Classifier.load(tiny_home).predict_many([str(row["text"]) for row in kept]))
    found = sorted(pq.read_table(tmp_path / "answers.parquet").to_pylist(), key=lambda row: row["id"])
    assert [(row["id"], row["intent"], row["confidence"], row["accepted"], row["source"]) for row in found] == [
        (row["id"], one.intent, one.confidence, one.accepted, one.source) for row, one in zip(kept, wanted, strict=True)
    ]
    (left,) = (tmp_path / "deferred").glob("part-*.json")
    deferred = sorted(json.loads(line)["text"] for line in left.read_text().splitlines())
    assert deferred
    assert deferred == sorted(row["text"] for row, one in zip(kept, wanted, strict=True) if not one.accepted)
