"""The Node.js example against the classifier in Python. It installs its packages with npm, once."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from inference.classifier import Classifier, Prediction
from tests.early import add_exit
from tests.soak.running import program
from tests.tiny import TAIL, THINGS, VERBS

pytestmark = pytest.mark.soak
EXAMPLE = Path("examples/node").absolute()
COUNT = 1000
OTHERS = ["ÄRGER, résumé", "你好 world", "🙂🙃", "x", "-- !? --", "a\tb\nc", "e\u0301", "w" * 300, "a b " * 1600]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example with its packages."""
    npm = program("npm", "Debian: apt-get install nodejs npm")
    folder = tmp_path_factory.mktemp("node") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run([npm, "install", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True)
    return folder


def texts() -> list[str]:
    things = [thing for of_intent in THINGS.values() for thing in of_intent]
    usual = [f"{verb} the {thing} {tail}" for verb in VERBS for thing in things for tail in TAIL]
    return [*OTHERS, *usual][:COUNT]


def in_node(example: Path, home: Path, target: float) -> list[dict[str, object]]:
    command = [program("node", "Debian: apt-get install nodejs"), "classify.mjs", home, str(target)]
    lines = "".join(json.dumps(text) + "\n" for text in texts())
    given = {**os.environ, "NODE_OPTIONS": ""}
    done = subprocess.run(command, input=lines, cwd=example, check=True, capture_output=True, text=True, env=given)
    return [json.loads(line) for line in done.stdout.splitlines()]


def same(found: dict[str, object], expected: Prediction) -> bool:
    parts = (found["intent"], found["accepted"], found["source"])
    return parts == (expected.intent, expected.accepted, expected.source)


@pytest.mark.parametrize("target", [0.90, 0.95])
def test_node_gives_the_answers_of_python(target: float, example: Path, tiny_home: Path, tmp_path: Path) -> None:
    home = add_exit(tiny_home, tmp_path / "early")
    classifier = Classifier.load(home, target)
    assert all(classifier.redact(text) == text for text in texts())
    expected = classifier.predict_many(texts())
    found = in_node(example, home, target)
    assert len(found) == COUNT
    assert all(same(one, other) for one, other in zip(found, expected, strict=True))
    assert all(
        float(str(one["confidence"])) == pytest.approx(other.confidence, abs=1e-4)
        for one, other in zip(found, expected, strict=True)
    )
    assert {one["source"] for one in found} >= ({"exit", "student"} if target == 0.90 else {"student"})


def test_an_altered_model_is_refused(example: Path, tiny_home: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(tiny_home, tmp_path / "altered"))
    model = next(home.glob("*/model.onnx"))
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        in_node(example, home, 0.95)
    assert "model.onnx was altered" in failed.value.stderr
