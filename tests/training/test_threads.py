"""Threads: few where the machine is busy, all where it is not, and what was set comes back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import write_tiny_data
from training import train
from training.student.threads import GAIN, bf16_is_faster, fastest, number_for

SECONDS = st.dictionaries(st.sampled_from([1, 2, 4]), st.floats(0.001, 100), min_size=3)


@pytest.fixture(autouse=True)
def four() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock, and work that takes so many seconds with so many threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds, self.time, self.steps = seconds, 0.0, 0

    def step(self) -> None:
        self.time += self.seconds[torch.get_num_threads()]
        self.steps += 1

    def now(self) -> float:
        return self.time


@given(SECONDS)
def test_fewer_threads_are_taken_only_where_they_are_surely_faster(seconds: dict[int, float]) -> None:
    machine = Machine(seconds)
    number = number_for(machine.step, 4, machine.now)
    assert seconds[number] <= GAIN * min(seconds.values()) * (1 + 1e-9)
    assert number == 4 or seconds[4] > GAIN * seconds[number] * (1 - 1e-9)


def test_one_thread_is_not_measured() -> None:
    machine = Machine({})
    assert number_for(machine.step, 1, machine.now) == 1
    assert machine.steps == 0


@given(st.floats(0.001, 100), st.floats(0.001, 100))
def test_bf16_is_taken_only_where_it_is_surely_faster(plain: float, half: float) -> None:
    machine = Machine({})

    def step() -> None:
        machine.time += half if torch.is_autocast_enabled("cpu") else plain

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
        taken = bf16_is_faster(step, machine.now)
    assert plain > GAIN * half * (1 - 1e-9) if taken else plain <= GAIN * half * (1 + 1e-9)
    assert not torch.is_autocast_enabled("cpu")


def test_without_bf16_in_hardware_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_f": True})
    machine = Machine({})
    assert not bf16_is_faster(machine.step, machine.now)
    assert machine.steps == 0


def test_a_torch_that_does_not_say_what_the_processor_has_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not bf16_is_faster(Machine({}).step)


def slow_with_four() -> None:
    sum(range(200_000 if torch.get_num_threads() == 4 else 1))


def test_the_number_of_before_comes_back() -> None:
    with fastest(slow_with_four) as measure:
        assert torch.get_num_threads() < 4
        torch.set_num_threads(4)
        measure()
        assert torch.get_num_threads() < 4
    assert torch.get_num_threads() == 4


def test_the_number_of_before_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="no"), fastest(slow_with_four):
        raise ValueError("no")
    assert torch.get_num_threads() == 4


def test_training_measures_before_each_of_its_parts_and_each_epoch(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []
    real = number_for

    def counting(step: Callable[[], object], most: int) -> int:
        measured.append(most)
        return real(step, most)

    monkeypatch.setattr("training.student.threads.number_for", counting)
    data = write_tiny_data(tmp_path / "data")
    places = ["--data", str(data), "--base", str(tiny_base), "--models", str(tmp_path)]
    assert train.main([*places, "--epochs", "1"]) == 0
    assert measured == [4] * 4  # to start the head, to fine-tune, for the epoch, to choose
    assert torch.get_num_threads() == 4
