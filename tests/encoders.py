"""Tiny encoders of several architectures, each with random weights and a tokenizer of the kind it usually has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.tiny import tiny_rows

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
ROBERTAS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
BERTS = {
    "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
}  # fmt: skip


def byte_pairs(specials: dict[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return learned(tokenizer, trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(specials.values()), initial_alphabet=alphabet, show_progress=False,
    ))  # fmt: skip


def word_pieces(specials: dict[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=specials["unk_token"]))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return learned(tokenizer, trainers.WordPieceTrainer(
        vocab_size=600, special_tokens=list(specials.values()), show_progress=False,
    ))  # fmt: skip


def unigrams(specials: dict[str, str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    return learned(tokenizer, trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(specials.values()), unk_token=specials["unk_token"], show_progress=False,
    ))  # fmt: skip


def learned(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator([row["text"] for row in tiny_rows()], trainer)
    return tokenizer


def write(folder: Path, tokenizer: Any, config: Any) -> Path:
    """An encoder of this configuration with random weights, and its tokenizer, as a folder for --base."""
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    tokenizer = transformers.BertTokenizerFast(tokenizer_object=word_pieces(BERTS))
    return write(folder, tokenizer, transformers.BertConfig(vocab_size=len(tokenizer), **SIZES))


def distilbert(folder: Path) -> Path:
    tokenizer = transformers.DistilBertTokenizerFast(tokenizer_object=word_pieces(BERTS))
    config = transformers.DistilBertConfig(vocab_size=len(tokenizer), dim=64, n_layers=2, n_heads=2, hidden_dim=128)
    return write(folder, tokenizer, config)


def roberta(folder: Path) -> Path:
    tokenizer = transformers.RobertaTokenizerFast(tokenizer_object=byte_pairs(ROBERTAS))
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=514, type_vocab_size=1, pad_token_id=1, **SIZES
    )
    return write(folder, tokenizer, config)


def mpnet(folder: Path) -> Path:
    tokenizer = transformers.MPNetTokenizerFast(tokenizer_object=word_pieces(ROBERTAS), unk_token="<unk>")
    config = transformers.MPNetConfig(vocab_size=len(tokenizer), max_position_embeddings=514, pad_token_id=1, **SIZES)
    return write(folder, tokenizer, config)


def deberta_v3(folder: Path) -> Path:
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=unigrams(BERTS), **BERTS)
    config = transformers.DebertaV2Config(
        vocab_size=len(tokenizer), type_vocab_size=0, relative_attention=True, pos_att_type=["p2c", "c2p"],
        position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True, position_biased_input=False, **SIZES,
    )  # fmt: skip
    return write(folder, tokenizer, config)


def modernbert(folder: Path) -> Path:
    names = ["input_ids", "attention_mask"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs(BERTS), model_input_names=names, **BERTS
    )
    specials = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    return write(folder, tokenizer, transformers.ModernBertConfig(vocab_size=len(tokenizer), **specials, **SIZES))


ENCODERS: dict[str, Callable[[Path], Path]] = {
    made.__name__: made for made in (bert, distilbert, roberta, mpnet, deberta_v3, modernbert)
}
