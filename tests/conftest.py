"""Shared fixtures: no network beyond loopback, no keys, and one tiny real bundle that is trained once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tiny import run_training, write_tiny_base, write_tiny_data

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads per tiny model only wait for each other on a busy machine
for name in [name for name in os.environ if name.endswith("_API_KEY")]:
    del os.environ[name]

# The same commit gets the same verdict. `make fuzz` looks for cases that no run has tried.
settings.register_profile("repeatable", derandomize=True)
settings.register_profile("fuzz", derandomize=False)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of easy, made-up queries for three intents."""
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer BERT with random weights and the embedded model's tokenizer: trains in seconds."""
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def tiny_home(tiny_data: Path, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`models/<name>` with one published version, made by the real command."""
    models = tmp_path_factory.mktemp("models")
    run_training("--data", str(tiny_data), "--models", str(models), "--base", str(tiny_base))
    return models / "tiny"
