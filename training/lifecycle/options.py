"""What a refresh is told beside the settings of training, and what it says in the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inference.common.commands import DONE, KEPT, SOME_FAILED
from inference.common.settings import setting
from inference.teachers.registry import FORMS


@dataclass(frozen=True)
class Options:
    """What a refresh needs beside the settings of training."""

    log: str = setting("", "decision log: a file or postgresql:// URL; by default the one with the model", secret=True)
    taxonomy: str = setting("", "taxonomy.toml, where there is no base data yet")
    queries: str = setting("", "a file of further, unlabelled queries to choose from")
    teacher: str = setting("", f"labels what has no answer yet: {FORMS}")
    budget: int = setting(200, "how many of --queries may be labelled per round")
    max_usd: float | None = setting(None, "hard cap for labelling, over all rounds")
    least_new: int = setting(50, "new labelled rows that make a round worthwhile")
    least_calibration: int = setting(500, "sampled requests from which on the live sample judges")
    window: int = setting(3000, "sampled requests that calibrate at most: the newest ones")
    sample_share: float = setting(0.1, "share of --max-usd that is kept for requests of the sample")
    half_life_days: float = setting(0.0, "days in which the weight of a live training row halves; 0: never")
    human_weight: float = setting(1.0, "weight of a person's correction in training")
    shadow: bool = setting(
        False, "whether a version that passes the gate goes on trial, in the log alone, while the serving one serves on"
    )
    keep: int = setting(5, "versions that served that are kept, and as many rejected ones; 0: all")
    from_data: bool = setting(True, "whether --data names labelled data to start from")

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise ValueError(f"keep must be at least 0, got {self.keep}; 0 keeps all versions")


@dataclass
class Summary:
    """What a refresh did, for a person and as JSON."""

    outcome: str = "nothing new"
    round: int = 0
    chosen: dict[str, float] = field(default_factory=dict)
    labelled: int = 0
    failed: int = 0
    usd: float = 0.0
    version: str | None = None
    reasons: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        if self.outcome == "kept":
            return KEPT
        return SOME_FAILED if self.failed and not self.labelled else DONE
