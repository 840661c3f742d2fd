from pathlib import Path
from typing import Any

import pytest

from inference.serving.policy import DEFERRALS, STRATEGIES, Policy


def test_arguments_overrule_the_environment_which_overrules_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('strategy = "hybrid"\ndeadline_s = 1\nconcurrency = 3\n')
    environment = {"MONOKU_DEADLINE_S": "0.5", "MONOKU_CONCURRENCY": "4", "OTHER": "x"}
    policy = Policy.load(file, environment, concurrency=5)
    assert (policy.strategy, policy.deadline_s, policy.concurrency) == ("hybrid", 0.5, 5)
    assert Policy.load(environment={}) == Policy()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("deferral", DEFERRALS)
def test_every_named_choice_is_taken(strategy: str, deferral: str) -> None:
    assert Policy.load(environment={}, strategy=strategy, deferral=deferral).strategy == strategy


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("strategy", "best", "strategy must be one of tiered, hybrid, local-first"),
        ("deferral", "later", "deferral must be one of wait, background, never"),
        ("deadline_s", 0, "deadline_s must be positive"),
        ("deadline_s", "2", "deadline_s must be a number"),
        ("sample_rate", 1.5, r"sample_rate must lie in \[0, 1\]"),
        ("sample_rate", "often", "sample_rate must be a number or auto, got 'often'"),
        ("day_zero_rate", "auto", "day_zero_rate must be a number"),
        ("sample_calls_a_day", 0, "sample_calls_a_day must be positive"),
        ("day_zero_rate", -0.1, r"day_zero_rate must lie in \[0, 1\]"),
        ("sample_share", 1.1, r"sample_share must lie in \[0, 1\]"),
        ("max_teacher_rate", -0.1, "max_teacher_rate must lie"),
        ("concurrency", 0, "concurrency must be at least 1"),
        ("concurrency", True, "concurrency must be a whole number"),
        ("cache_size", -1, "cache_size must not be negative"),
        ("daily_usd", -1, "daily_usd must lie between 0 and"),
        ("daily_usd", float("inf"), "daily_usd must lie between 0 and"),
        ("colour", 1, "the arguments: unknown setting colour; known are strategy, deferral"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Policy.load(environment={}, **{name: value})


def test_the_samples_rate_may_set_itself_from_every_place(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('sample_rate = "auto"')
    for policy in (Policy.load(file, {}), Policy.load(environment={"MONOKU_SAMPLE_RATE": "auto"})):
        assert (policy.sample_rate, policy.first_sample_rate) == ("auto", 0.01)
    assert Policy.load(environment={"MONOKU_SAMPLE_RATE": "0.5"}).first_sample_rate == 0.5
    with pytest.raises(ValueError, match="MONOKU_SAMPLE_RATE must be a number or auto, got 'often'"):
        Policy.load(environment={"MONOKU_SAMPLE_RATE": "often"})


def test_a_file_that_is_no_policy_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(ValueError, match=r"policy\.toml cannot be read"):
        Policy.load(file, {})
    file.write_text("colour = 1")
    with pytest.raises(ValueError, match=r"policy\.toml: unknown setting colour"):
        Policy.load(file, {})


def test_a_password_does_not_show_in_the_policy() -> None:
    url = "postgresql://me:secret@host/db"
    policy = Policy(log=url, ledger=url, redis="redis://:secret@host")
    assert "secret" not in repr(policy)
