"""The dials of a training run: one frozen dataclass, read from a TOML file and from command-line flags."""

from __future__ import annotations

import argparse
import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

NOT_THE_STUDENTS = ("data", "name", "models", "delta")


@dataclass(frozen=True)
class Config:
    """Everything that a person may set. A field's metadata is its help text."""

    data: str = "data/support"  # a folder, a .jsonl/.csv/.parquet file, or a Hugging Face data set name
    name: str = ""  # what the model is called under models/; empty: the data folder's name
    models: str = "models"  # the folder that holds every model
    base: str = "all-MiniLM-L6-v2"  # the embedded default, a local folder, or a hub name
    seed: int = 0  # order of batches, dropout
    epochs: int = 3  # passes over the training rows and their noisy copies
    learning_rate: float = 1.5e-4  # peak rate of the encoder; the head learns five times faster
    batch_size: int = 32  # rows per step
    noisy_copies: int = 1  # of every training row, with typos and the like; each counts as rows of an epoch
    label_smoothing: float = 0.05  # probability spread evenly over all intents
    redactor: str = "builtin"  # what is removed from texts before training and serving: builtin, none, MODULE:FUNCTION
    max_tokens: int = 128  # longer texts are cut at this many tokens
    feed_forward_share: float = 0.667  # of the neurons of every feed-forward layer, 1 keeps all: a quarter faster
    tune_embeddings: bool = False  # also tune the token embedding table: a fifth slower
    delta: float = 0.05  # probability with which the certificates may fail, all of them and all versions together

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("epochs", "batch_size", "max_tokens"):
            _require(getattr(self, name) >= (8 if name == "max_tokens" else 1), self, name, "is too small")
        _require(self.noisy_copies >= 0, self, "noisy_copies", "must not be negative")
        _require(0 < self.delta < 1, self, "delta", "must lie between 0 and 1")
        _require(0 <= self.label_smoothing < 1, self, "label_smoothing", "must lie in [0, 1)")
        _require(0 < self.feed_forward_share <= 1, self, "feed_forward_share", "must lie in (0, 1]")
        _require(self.learning_rate > 0, self, "learning_rate", "must be positive")
        _require(self.seed >= 0, self, "seed", "must not be negative")
        _require("/" not in self.name and self.name not in (".", ".."), self, "name", "must be a plain folder name")

    @property
    def model_name(self) -> str:
        """The folder under `models`: the given name, or the data's own."""
        return self.name or Path(self.data).resolve().stem

    @property
    def home(self) -> Path:
        return Path(self.models) / self.model_name

    def id(self) -> str:
        """A content id of the dials that the student depends on: where things lie and what is promised are left out."""
        values = {name: value for name, value in asdict(self).items() if name not in NOT_THE_STUDENTS}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _require(holds: bool, config: Config, name: str, rule: str) -> None:
    if not holds:
        raise ValueError(f"{name} {rule}, got {getattr(config, name)!r}")


def _check_types(config: Config) -> None:
    for field in fields(Config):
        kind, value = type(field.default), getattr(config, field.name)
        if kind is float and type(value) is int:
            object.__setattr__(config, field.name, float(value))
        elif type(value) is not kind:
            raise ValueError(f"{field.name} must be a {kind.__name__}, got {value!r}")


def read_toml(path: str | Path) -> dict[str, Any]:
    """The dials in a TOML file. Raises ValueError on a file that is not TOML and on a key that is no dial."""
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from error
    known = [field.name for field in fields(Config)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown dial {', '.join(unknown)}; the dials are {', '.join(known)}")
    return values


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` one flag per dial, and --config for a TOML file."""
    parser.add_argument("--config", metavar="FILE", help="TOML file with any of the dials below; flags win over it")
    for field in fields(Config):
        assert field.default is not MISSING
        flag = "--" + field.name.replace("_", "-")
        if isinstance(field.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            kind = type(field.default)
            parser.add_argument(flag, type=kind, default=None, metavar=kind.__name__.upper(), help=f"{field.default!r}")


def from_flags(arguments: argparse.Namespace) -> Config:
    """Defaults, then the TOML file, then flags: the later wins."""
    values = read_toml(arguments.config) if arguments.config else {}
    flags = {f.name: getattr(arguments, f.name) for f in fields(Config)}
    return Config(**{**values, **{name: value for name, value in flags.items() if value is not None}})


def parse(argv: Sequence[str] | None, description: str) -> Config:
    """The dials from a command line; exits with a message where one is off."""
    parser = argparse.ArgumentParser(description=description)
    add_flags(parser)
    arguments = parser.parse_args(argv)
    try:
        return from_flags(arguments)
    except (ValueError, OSError) as error:
        parser.error(str(error))
