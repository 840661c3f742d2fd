import json
import multiprocessing
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.looks import LOOKS_FILE, WHOLE, BaseLooks, Look, Part, look_delta


def test_looks_spend_at_most_delta_for_ever() -> None:
    spent = sum(look_delta(0.05, number) for number in range(1, 20_000))
    assert 0.0499 < spent < 0.05
    with pytest.raises(ValueError, match="count from 1"):
        look_delta(0.05, 0)


def test_every_model_is_a_new_look_and_the_same_model_is_none(tmp_path: Path) -> None:
    looks = BaseLooks(tmp_path)
    first = looks.spend(0.05, "a")
    assert first == Look(1, look_delta(0.05, 1))
    assert looks.spend(0.05, "b") == Look(2, look_delta(0.05, 2))
    assert looks.spend(0.05, "a") == first
    assert BaseLooks(tmp_path).spend(0.05, "b").number == 2
    assert BaseLooks(tmp_path).spend(0.05, "c").number == 3


def test_two_models_share_a_look_and_a_third_gets_another(tmp_path: Path) -> None:
    looks, whole = BaseLooks(tmp_path), look_delta(0.05, 1)
    assert looks.spend(0.05, "first", Part(0.1)) == Look(1, pytest.approx(0.1 * whole))
    assert looks.spend(0.05, "full", Part(0.9, of=1)) == Look(1, pytest.approx(0.9 * whole))
    assert looks.spend(0.05, "full", Part(0.9, of=1)).number == 1  # a run that was killed asks again
    assert looks.spend(0.05, "another full", Part(0.9, of=1)).number == 2
    assert looks.spend(0.05, "plain").number == 3
    assert looks.spend(0.05, "of a look that is not there", Part(0.9, of=9)).number == 4


PARTS = st.sampled_from([WHOLE, Part(0.1), Part(0.9), *(Part(share, of) for share in (0.1, 0.9, 1) for of in (1, 2))])


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), PARTS), max_size=12))
def test_no_look_spends_more_than_its_delta_whoever_asks_for_which_part(asked: list[tuple[str, Part]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {model: BaseLooks(Path(folder)).spend(0.05, model, part) for model, part in asked}
    for number in {look.number for look in found.values()}:
        spent = sum(look.delta for look in found.values() if look.number == number)
        assert spent <= look_delta(0.05, number) * (1 + 1e-6)


def test_a_look_is_on_disk_before_it_is_returned(tmp_path: Path) -> None:
    look = BaseLooks(tmp_path).spend(0.05, "a")
    (written,) = json.loads((tmp_path / LOOKS_FILE).read_text())["looks"]
    assert (written["number"], written["delta"], written["model"]) == (look.number, look.delta, "a")


def test_counting_goes_on_after_the_versions_of_an_older_home_and_does_not_start_again(tmp_path: Path) -> None:
    assert BaseLooks(tmp_path, after=7).spend(0.05, "a").number == 8
    assert BaseLooks(tmp_path, after=0).spend(0.05, "b").number == 9


def test_a_restart_counts_from_one_whatever_was_published(tmp_path: Path) -> None:
    BaseLooks(tmp_path).spend(0.05, "a")
    BaseLooks(tmp_path).restart()
    assert BaseLooks(tmp_path, after=7).spend(0.05, "b").number == 1


def _spend(folder: Path, names: list[str]) -> None:
    for name in names:
        BaseLooks(folder).spend(0.05, name)


def test_models_of_two_processes_do_not_share_a_number(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_spend, args=(tmp_path, [f"{w}{n}" for n in range(10)])) for w in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    looks = json.loads((tmp_path / LOOKS_FILE).read_text())["looks"]
    assert sorted(look["number"] for look in looks) == list(range(1, 21))


@pytest.mark.parametrize("content", ["{", "[]", '{"after": 0, "looks": [{"number": 1}]}', '{"looks": []}'])
def test_a_damaged_file_stops_the_run(tmp_path: Path, content: str) -> None:
    (tmp_path / LOOKS_FILE).write_text(content)
    with pytest.raises(ValueError, match=r"looks\.json is damaged"):
        BaseLooks(tmp_path).spend(0.05, "a")
