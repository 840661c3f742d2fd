from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from tests.encoders import BERTS, byte_pairs, word_pieces
from training.student.model import check_base, resolve_base

T5 = transformers.T5Config(vocab_size=600, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
FUNNEL = transformers.FunnelConfig(vocab_size=600, block_sizes=[1, 1], d_model=32, n_head=2, d_head=16, d_inner=32)
GPT2 = transformers.GPT2Config(vocab_size=600, n_embd=32, n_layer=1, n_head=2)


@pytest.mark.parametrize(
    ("config", "specials", "reason"),
    [
        (T5, BERTS, r"is an encoder with a decoder \(t5\)"),
        (FUNNEL, BERTS, r"cannot be exported by optimum \(funnel\)"),
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
        check_base(resolve_base(str(tmp_path)), 16)


def test_more_tokens_than_the_base_reads_are_refused(tmp_path: Path) -> None:
    tokenizer = transformers.MPNetTokenizerFast(tokenizer_object=word_pieces(BERTS), **BERTS)
    tokenizer.save_pretrained(tmp_path)
    transformers.MPNetConfig(max_position_embeddings=66, pad_token_id=1).save_pretrained(tmp_path)
    check_base(resolve_base(str(tmp_path)), 64)
    with pytest.raises(ValueError, match=r"--max-tokens 65: the base model '.+' reads at most 64 tokens"):
        check_base(resolve_base(str(tmp_path)), 65)
