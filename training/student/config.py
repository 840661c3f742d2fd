"""The settings of a training run: one frozen dataclass, from a TOML file and from command-line flags."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference.common import settings
from inference.common.settings import check_types, setting
from training.data.foreign import FORMATS
from training.data.source import Reading

NOT_THE_STUDENTS = ("data", "encoding", "format", "name", "models", "delta", "target")


@dataclass(frozen=True)
class Config:
    """Everything that a person may set. `models` becomes absolute at once."""

    data: str = setting("data/support", "a folder or file of labelled rows, or a Hugging Face data set name")
    encoding: str = setting("", "the data files' encoding, such as latin-1, where it is not found by itself")
    format: str = setting("rows", f"what the data's records are: {', '.join(FORMATS)}")
    name: str = setting("", "the model's name under --models; by default the data folder's")
    models: str = setting("models", "the folder that holds every model")
    base: str = setting("all-MiniLM-L6-v2", "base model: the embedded default, a local folder, or a hub name")
    seed: int = setting(0, "seed of the order of batches, and of the noisy copies")
    epochs: int = setting(3, "passes over the training rows and their noisy copies")
    learning_rate: float = setting(1.5e-4, "peak learning rate of the encoder; the head learns five times faster")
    batch_size: int = setting(32, "rows per training step")
    noisy_copies: int = setting(1, "copies of every training row with typos and the like; each counts as a row")
    label_smoothing: float = setting(0.05, "probability spread evenly over all intents")
    redactor: str = setting("builtin", "what texts lose before training and serving: builtin, none or MODULE:FUNCTION")
    max_tokens: int = setting(128, "longer texts are cut at this many tokens")
    feed_forward_share: float = setting(0.667, "share of feed-forward neurons that is kept; 1 is a quarter slower")
    minutes: float = setting(0.0, "most minutes of fine-tuning; if it would take longer there is none; 0: no limit")
    frozen_share: float = setting(0.33, "share of the encoder's layers, from the lowest, that is not fine-tuned")
    tune_embeddings: bool = setting(False, "also tune the token embedding table, and all layers: half as fast")
    target: float = setting(0.95, "agreement that accepted answers are to have; its certificate gets most of delta")
    delta: float = setting(0.05, "probability that a certificate is broken, all of them and all versions together")

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "batch_size", "max_tokens"):
            _require(getattr(self, name) >= (8 if name == "max_tokens" else 1), self, name, "is too small")
        _require(self.format in FORMATS, self, "format", f"must be one of {', '.join(FORMATS)}")
        for name in ("noisy_copies", "minutes"):
            _require(getattr(self, name) >= 0, self, name, "must not be negative")
        _require(0.5 <= self.target <= 0.999, self, "target", "must lie between 0.5 and 0.999")
        _require(0 < self.delta < 1, self, "delta", "must lie between 0 and 1")
        _require(0 <= self.label_smoothing < 1, self, "label_smoothing", "must lie in [0, 1)")
        _require(0 < self.feed_forward_share <= 1, self, "feed_forward_share", "must lie in (0, 1]")
        _require(0 <= self.frozen_share < 1, self, "frozen_share", "must lie in [0, 1)")
        _require(self.learning_rate > 0, self, "learning_rate", "must be positive")
        _require(self.seed >= 0, self, "seed", "must not be negative")
        _require("/" not in self.name and self.name not in (".", ".."), self, "name", "must be a plain folder name")
        object.__setattr__(self, "models", str(Path(self.models).absolute()))

    @property
    def model_name(self) -> str:
        """The folder under `models`: the given name, or the data's own.

        Raises ValueError where there may be a model of this data under the name that versions before 0.3.0 gave it.
        """
        return self.name or _name_of(self.data, Path(self.models))

    @property
    def reading(self) -> Reading:
        """How the data are read."""
        return Reading(self.encoding, self.format)

    @property
    def home(self) -> Path:
        return Path(self.models) / self.model_name

    def shown(self) -> dict[str, Any]:
        """The settings for a report, which does not tell where on this machine things lie."""
        data, models = Path(self.data), Path(self.models)
        return {**asdict(self), "data": data.name if data.is_absolute() else self.data, "models": models.name}

    def id(self) -> str:
        """A content id of the settings that the student depends on: not where things lie, nor what is promised."""
        values = {name: value for name, value in asdict(self).items() if name not in NOT_THE_STUDENTS}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _name_of(data: str, models: Path) -> str:
    path = Path(data).resolve()
    plain = Path(path.name.removesuffix(".gz"))
    if not path.is_dir() and plain.suffix.lower() in (".jsonl", ".json", ".csv", ".tsv", ".parquet"):
        return plain.stem
    before = path.stem  # which data/support.2024 and data/support.2025 have in common
    if before != path.name and (models / before).is_dir() and not (models / path.name).is_dir():
        raise ValueError(
            f"versions before 0.3.0 gave the model of {data} the name {before}, and there is such a model: "
            f"give --name {before} to go on with it, or --name {path.name} to begin a new one"
        )
    return path.name


def _require(holds: bool, config: Config, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} {rule}, got {getattr(config, name)!r}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one flag per setting, and --config for a TOML file."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the settings below; flags win over it")
    settings.add_flags(parser, Config)


def given(arguments: argparse.Namespace) -> set[str]:
    """The names of the settings that were given, as flags or in the TOML file. Raises ValueError."""
    in_file = settings.read_toml(Config, arguments.config) if arguments.config else {}
    return {*in_file, *settings.from_flags(Config, arguments)}


def from_flags(arguments: argparse.Namespace) -> Config:
    """Defaults, then the TOML file, then flags: the later wins. Raises ValueError."""
    return settings.load(Config, arguments.config, {}, settings.from_flags(Config, arguments))
