"""What must work where there is neither fcntl nor os.fork, as on Windows: simulated in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import importlib, os, pkgutil, sys
for name in sys.argv[3:]:
    importlib.import_module(name)  # others' packages, which do without by sys.platform
sys.modules["fcntl"] = None
del os.fork, os.register_at_fork
wing = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(wing.__path__, wing.__name__ + "."):
    importlib.import_module(module.name)
from inference import Classifier
print(Classifier.load(sys.argv[2]).predict("please stop the refund").intent)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the real thing")
@pytest.mark.parametrize(
    ("wing", "others"), [("inference", []), ("training", ["torch", "transformers", "datasets", "evaluate"])]
)
def test_every_module_imports_and_the_classifier_answers(wing: str, others: list[str], tiny_home: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, wing, str(tiny_home), *others]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("payments", "account", "unknown")
