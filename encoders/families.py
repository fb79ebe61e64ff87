"""What sets one family of encoders apart from another, one entry each; everything else asks here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import gelu


def sliding_masks(config: Any, same: Tensor, positions: Tensor) -> dict[str, Tensor]:
    """ModernBERT: its own sentence, and in some layers only what lies near in it."""
    distance = (positions[:, :, None] - positions[:, None, :]).abs()[:, None]  # (R, 1, W, W)
    return {"full_attention": same, "sliding_attention": same & (distance <= config.local_attention // 2)}


def embed_bert(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    return encoder.embeddings(inputs_embeds=words, position_ids=positions)


def embed_twice(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    """BERT's embedding module, applied twice: what the published checkpoints were trained with."""
    return embed_bert(encoder, embed_bert(encoder, words, positions), positions)


def embed_distilbert(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    """DistilBERT's module asks for ids even when it has embeddings."""
    return encoder.embeddings(None, inputs_embeds=words, position_ids=positions)


def embed_with_waves(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    """Where embeddings know no positions: the sines and cosines of Vaswani et al. (2017, section 3.5) are added."""
    hidden = encoder.embeddings(inputs_embeds=words)  # (B, S, D)
    size = hidden.shape[-1]
    rates = 10_000 ** -(torch.arange(0, size, 2, device=hidden.device) / size)  # (D / 2,)
    angles = positions[..., None] * rates  # (B, S, D / 2)
    return hidden + torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :size].to(hidden.dtype)


@dataclass(frozen=True)
class Family:
    """How a family of masked language models is used.

    Args:
        head: the part of the MLM head in front of its output matrix, states (..., D) -> (..., E): submodules by name,
            and functions, one after another.
        packs: whether it takes transformers' attention functions, and with them this project's, and several sentences
            may share a row; the latter is tried before it is believed, see `packs`.
        after_padding: whether the table of positions begins behind the padding id, not at 0.
        masks: (configuration, same sentence (R, 1, W, W), positions (R, W)) -> its attention mask.
        embed: the decoder's input, (encoder, word embeddings (B, S, E), positions (B, S)) -> (B, S, E or D).
    """

    head: tuple[str | Callable[[Tensor], Tensor], ...]
    packs: bool = True
    after_padding: bool = False
    masks: Callable[[Any, Tensor, Tensor], Any] = lambda config, same, positions: same
    embed: Callable[[Any, Tensor, Tensor], Tensor] = embed_bert

    def first_position(self, config: Any) -> int:
        """Of a sentence, in the table of positions."""
        return config.pad_token_id + 1 if self.after_padding else 0


BERT_HEAD = ("cls.predictions.transform",)
ROBERTA_HEAD = ("lm_head.dense", gelu, "lm_head.layer_norm")
ROBERTA = Family(ROBERTA_HEAD, after_padding=True)
FAMILIES = {
    "bert": Family(BERT_HEAD, embed=embed_twice),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": Family(("vocab_transform", "activation", "vocab_layer_norm"), embed=embed_distilbert),
    "electra": Family(("generator_predictions",)),
    "albert": Family(("predictions.dense", "predictions.activation", "predictions.LayerNorm")),
    "modernbert": Family(("head",), masks=sliding_masks, embed=embed_with_waves),
    # relative positions, which come from the row
    "mpnet": Family(ROBERTA_HEAD, packs=False, after_padding=True),
    "deberta-v2": Family(BERT_HEAD, packs=False, embed=embed_with_waves),
}
# Tried for a family that is not in the table, by what its MLM head is called.
UNKNOWN = {"cls": Family(BERT_HEAD, packs=False), "lm_head": Family(ROBERTA_HEAD, packs=False)}


def family_of(model: PreTrainedModel) -> Family:
    """The family of an encoder or a masked language model."""
    return FAMILIES.get(model.config.model_type) or UNKNOWN["lm_head" if hasattr(model, "lm_head") else "cls"]


def max_positions(config: Any) -> int:
    """The longest sentence that an encoder can read, in tokens."""
    family = FAMILIES.get(config.model_type)
    return config.max_position_embeddings - (family.first_position(config) if family else 0)


def mlm_transform(model: PreTrainedModel, states: Tensor) -> Tensor:
    """What the output matrix of a masked language model reads; states (..., D) -> (..., E)."""
    for part in family_of(model).head:
        states = (model.get_submodule(part) if isinstance(part, str) else part)(states)
    return states


def embed(encoder: PreTrainedModel, words: Tensor, positions: Tensor) -> Tensor:
    """A decoder's input made by the encoder's embedding module: word embeddings (B, S, E) and positions (B, S) from 0
    -> (B, S, E), or (B, S, D) where the module itself widens factorised embeddings."""
    family = family_of(encoder)
    return family.embed(encoder, words, positions + family.first_position(encoder.config))
