import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.encoders import ENCODERS
from training.data.rows import Row
from training.student import model, tune
from training.student.config import Config
from training.student.layers import LAYOUTS, layers_of

LABELS = ("a", "b")
ROWS = [Row(str(i), text, label) for i, (text, label) in enumerate([("pay the bill", "a"), ("open door", "b")] * 8)]
HALF = Config(epochs=2, batch_size=8, frozen_share=0.5)
State = dict[str, torch.Tensor]


def tuned(base: Path, folder: Path, config: Config, **more: int) -> tuple[State, State, model.Student]:
    """The weights before and after, and the student."""
    torch.manual_seed(0)
    student, tokenizer = model.load_base(model.resolve_base(str(base)), LABELS, 16)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    items = model.encode(ROWS, student, tokenizer, 0.0)
    tune.fine_tune(student, items, model.Collator(tokenizer), config, folder, **more)
    return before, student.state_dict(), student


def changed(before: State, after: State) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_the_lower_layers_stay_as_they_came_and_the_upper_ones_learn(architecture: str, tmp_path: Path) -> None:
    base = ENCODERS[architecture](tmp_path / "base")
    before, after, student = tuned(base, tmp_path / "run", HALF)
    (upper,) = list(layers_of(student.encoder))[1:]
    names = {id(one): name for name, one in student.named_parameters()}
    learned = {names[id(one)] for one in upper.parameters()}
    # Of a key's bias attention takes no notice, for it adds the same to all.
    assert changed(before, after) - {"head.weight", "head.bias"} <= learned
    assert len(learned) - len(changed(before, after) & learned) <= 1
    assert not student.training


def test_layers_are_as_frozen_where_what_they_make_is_too_much_to_keep(tmp_path: Path) -> None:
    base = ENCODERS["bert"](tmp_path / "base")
    before, kept, _ = tuned(base, tmp_path / "kept", HALF)
    _, again, _ = tuned(base, tmp_path / "again", HALF, most_hidden=0)
    assert changed(before, kept) == changed(before, again)
    for name in kept:
        assert torch.allclose(kept[name], again[name], atol=1e-3), name


def test_all_layers_learn_where_that_is_wanted_or_the_architecture_is_not_known(tmp_path: Path) -> None:
    for i, (architecture, config) in enumerate(
        [("bert", replace(HALF, frozen_share=0.0)), ("bert", replace(HALF, tune_embeddings=True)), ("mpnet", HALF)]
    ):
        before, after, student = tuned(ENCODERS[architecture](tmp_path / f"{i}"), tmp_path / f"run-{i}", config)
        assert tune.frozen_layers(student.encoder, config) == 0
        found = changed(before, after)
        assert {name.partition("layer.")[2][0] for name in found if "layer." in name} == {"0", "1"}
        assert any("word_embeddings" in name for name in found) == config.tune_embeddings


def test_a_run_that_was_killed_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    base = ENCODERS["bert"](tmp_path / "base")
    _, whole, _ = tuned(base, tmp_path / "run", replace(HALF, epochs=3))
    (last,) = (tmp_path / "run").iterdir()
    begun = (last / "trainer_state.json").read_bytes()
    _, again, _ = tuned(base, tmp_path / "run", replace(HALF, epochs=3))
    assert (last / "trainer_state.json").read_bytes() == begun
    assert not changed(whole, again)


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text(json.dumps({}))
    assert tune._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    assert not (tmp_path / "checkpoint-10").exists()
    assert tune._last_checkpoint(tmp_path / "nothing") is None
