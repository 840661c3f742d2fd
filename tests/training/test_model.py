import json
from pathlib import Path

import pytest
import torch
import transformers

from tests.encoders import BERTS, byte_pairs, word_pieces
from training.data.rows import Row
from training.student import fit
from training.student import model as student
from training.student.config import Config
from training.student.mixture import Mixture
from training.student.targets import dense

ROWS = [Row(str(i), text, label) for i, (text, label) in enumerate([("pay the bill", "a"), ("open the door", "b")] * 8)]
T5 = transformers.T5Config(vocab_size=600, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
FUNNEL = transformers.FunnelConfig(vocab_size=600, block_sizes=[1, 1], d_model=32, n_head=2, d_head=16, d_inner=32)
QWEN = transformers.Qwen2Config(vocab_size=600, hidden_size=32, architectures=["Qwen2ForCausalLM"])
GPT2 = transformers.GPT2Config(vocab_size=600, n_embd=32, n_layer=1, n_head=2)


def test_the_embedded_base_has_the_published_hash() -> None:
    base = student.resolve_base("all-MiniLM-L6-v2")
    assert base.sha256 == student.EMBEDDED_SHA256 == student.file_sha256(Path(base.location) / "model.safetensors")


def test_an_altered_embedded_base_is_refused(monkeypatch: pytest.MonkeyPatch, tiny_base: Path) -> None:
    monkeypatch.setattr(student, "_embedded_folder", lambda: tiny_base)
    with pytest.raises(ValueError, match="expected 53aa5117"):
        student.resolve_base("all-MiniLM-L6-v2")


def test_a_base_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match="'nobody/nothing' cannot be loaded"):
        student.load_base(student.resolve_base("nobody/nothing"), ("a", "b"), 16)


def test_embeddings_have_length_sixteen_and_ignore_padding(tiny_base: Path) -> None:
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    made.eval()
    short = torch.tensor([tokenizer("pay the bill")["input_ids"]])
    padded = torch.cat([short, torch.zeros(1, 5, dtype=torch.long)], 1)
    mask = (padded != 0).long()
    with torch.no_grad():
        alone, beside = made.embed(short, torch.ones_like(short)), made.embed(padded, mask)
    assert torch.allclose(alone, beside, atol=1e-4)
    assert alone.norm().item() == pytest.approx(16, rel=1e-4)


def test_a_text_has_no_separator_and_is_cut(tiny_base: Path) -> None:
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    items = student.encode([Row("1", "word " * 50, "a"), Row("2", "word", "b")], made, tokenizer, 0.1)
    assert [len(item["input_ids"]) for item in items] == [16, 2]
    assert tokenizer.sep_token_id not in items[1]["input_ids"]
    assert dense([items[0]["target"]])[0].tolist() == pytest.approx([0.95, 0.05])


def test_row_weights_and_shares_reach_the_loss(tiny_base: Path) -> None:
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    made.eval()
    collate = student.Collator(tokenizer)

    def loss(*rows: Row) -> float:
        return made(**collate(student.encode(rows, made, tokenizer, 0.0)))["loss"].item()

    a, b = Row("1", "pay", "a"), Row("2", "pay", "b")
    assert loss(Row("3", "pay", "a", weight=0.5)) == pytest.approx(loss(a) / 2)
    shared = Row("4", "pay", "a", shares={"a": 0.25, "b": 0.75})
    assert loss(shared) == pytest.approx(0.25 * loss(a) + 0.75 * loss(b), rel=1e-4)


def test_save_and_load_give_the_same_student(tiny_base: Path, tmp_path: Path) -> None:
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    student.save(made, tokenizer, tmp_path / "student")
    again, tokens = student.load(tmp_path / "student", ("a", "b"))
    ids = torch.tensor([tokens("pay the bill")["input_ids"]])
    assert tokens("pay the bill")["input_ids"] == tokenizer("pay the bill")["input_ids"]
    with torch.no_grad():
        expected = made.eval()(ids, torch.ones_like(ids))["logits"]
        assert torch.equal(again(ids, torch.ones_like(ids))["logits"], expected)


def test_a_mixture_is_saved_with_its_student_and_answers_in_the_heads_place(tiny_base: Path, tmp_path: Path) -> None:
    made, tokenizer = student.load_base(student.resolve_base(str(tiny_base)), ("a", "b"), 16)
    made.mixture = Mixture(made.head.in_features, 2, 0.4)
    student.save(made, tokenizer, tmp_path / "student")
    again, _ = student.load(tmp_path / "student", ("a", "b"))
    ids = torch.tensor([tokenizer("pay the bill")["input_ids"]])
    with torch.no_grad():
        expected = made.eval()(ids)["logits"]
        assert torch.equal(again(ids)["logits"], expected)
        assert not torch.equal(made.head(made.embed(ids)), expected)


def test_fine_tuning_that_would_take_too_long_is_left_out(tiny_base: Path, tmp_path: Path) -> None:
    base, config = student.resolve_base(str(tiny_base)), Config(epochs=1, minutes=1e-9)
    made, _, tried = fit.train(ROWS, ("a", "b"), base, config, tmp_path / "run", ROWS)
    assert not (tmp_path / "run").exists()
    assert {one["tuned"] for one in tried} == {0.0}
    assert [one["kept"] for one in tried].count(True) == 1
    assert not made.training


def test_noisy_copies_keep_everything_but_the_text() -> None:
    rows = [Row(str(i), f"please send the invoice number {i} again", "a", weight=0.5) for i in range(50)]
    made = fit.noisy_copies(rows, 2, seed=1)
    assert [(row.id, row.label, row.weight) for row in made] == [(row.id, "a", 0.5) for row in rows * 2]
    assert sum(row.text != again.text for row, again in zip(made[:50], made[50:], strict=True)) > 25
    assert made == fit.noisy_copies(rows, 2, seed=1)
    assert fit.noisy_copies(rows, 0, seed=1) == []


@pytest.mark.parametrize(
    "config", [Config(epochs=1, noisy_copies=2), Config(epochs=2, noisy_copies=0, batch_size=4, learning_rate=7e-4)]
)
def test_training_goes_as_it_was_set(tiny_base: Path, tmp_path: Path, config: Config) -> None:
    base = student.resolve_base(str(tiny_base))
    fit.train(ROWS, ("a", "b"), base, config, tmp_path / "run")
    (last,) = (tmp_path / "run").glob("checkpoint-*")
    state = json.loads((last / "trainer_state.json").read_text())
    steps = -(-len(ROWS) * (1 + config.noisy_copies) // config.batch_size)
    assert (state["num_train_epochs"], state["max_steps"]) == (config.epochs, steps * config.epochs)
    rates = [entry["learning_rate"] for entry in state["log_history"]]
    assert config.learning_rate / 2 < max(rates) <= config.learning_rate or config.epochs == 1


@pytest.mark.parametrize(
    ("config", "specials", "reason"),
    [
        (T5, BERTS, r"is an encoder with a decoder \(t5\)"),
        (FUNNEL, BERTS, r"cannot be exported by optimum \(funnel\)"),
        (QWEN, BERTS, r"is a decoder \(qwen2\)"),
        (GPT2, {"unk_token": "[UNK]"}, "has no token for padding, as decoders have none"),
    ],
)
def test_what_cannot_become_a_student_is_refused_before_anything_is_done(
    config: transformers.PretrainedConfig, specials: dict[str, str], reason: str, tmp_path: Path
) -> None:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=byte_pairs(specials), **specials)
    tokenizer.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"the base model '.+' {reason}: choose an encoder such as BERT"):
        student.check_base(student.resolve_base(str(tmp_path)), 16)


def test_more_tokens_than_the_base_reads_are_refused(tmp_path: Path) -> None:
    tokenizer = transformers.MPNetTokenizerFast(tokenizer_object=word_pieces(BERTS), **BERTS)
    tokenizer.save_pretrained(tmp_path)
    transformers.MPNetConfig(max_position_embeddings=66, pad_token_id=1).save_pretrained(tmp_path)
    student.check_base(student.resolve_base(str(tmp_path)), 64)
    with pytest.raises(ValueError, match=r"--max-tokens 65: the base model '.+' reads at most 64 tokens"):
        student.check_base(student.resolve_base(str(tmp_path)), 65)
