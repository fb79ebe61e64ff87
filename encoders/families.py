"""What sets one family of encoders apart from another, one entry each; everything else asks here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import gelu


def block_mask(config: Any, same: Tensor, positions: Tensor) -> Tensor:
    """Each token sees its own sentence; (R, 1, W, W) bool."""
    return same


def sliding_masks(config: Any, same: Tensor, positions: Tensor) -> dict[str, Tensor]:
    """ModernBERT: the same, and in some layers only what lies near."""
    distance = (positions[:, :, None] - positions[:, None, :]).abs()[:, None]  # (R, 1, W, W)
    return {"full_attention": same, "sliding_attention": same & (distance <= config.local_attention // 2)}


def after_padding(config: Any) -> int:
    """RoBERTa's positions begin behind the padding id."""
    return config.pad_token_id + 1


def from_zero(config: Any) -> int:
    """The first position."""
    return 0


def embed_bert(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    """Word embeddings (B, S, E) and positions (B, S) through the encoder's embedding module."""
    return encoder.embeddings(inputs_embeds=words, position_ids=positions)


def embed_twice(encoder: Any, words: Tensor, positions: Tensor) -> Tensor:
    """BERT's, twice. Nobody would design this, but it is what the published checkpoints were trained with."""
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
        mlm_transform: (masked language model, states (..., D)) -> what its output matrix reads, (..., E): the part of
            the MLM head in front of the matrix.
        packs: whether several sentences may share a row; it is tried before it is believed, see `packs`.
        kernels: whether it takes transformers' attention functions, and with them this project's.
        masks: (configuration, same sentence (R, 1, W, W), positions (R, W)) -> its attention mask.
        first_position: of a sentence, in its table of positions.
        embed: the decoder's input, (encoder, word embeddings (B, S, E), positions (B, S)) -> (B, S, E or D).
    """

    mlm_transform: Callable[[Any, Tensor], Tensor]
    packs: bool = True
    kernels: bool = True
    masks: Callable[[Any, Tensor, Tensor], Any] = block_mask
    first_position: Callable[[Any], int] = from_zero
    embed: Callable[[Any, Tensor, Tensor], Tensor] = embed_bert


def transform_bert(model: Any, states: Tensor) -> Tensor:
    return model.cls.predictions.transform(states)


def transform_roberta(model: Any, states: Tensor) -> Tensor:
    return model.lm_head.layer_norm(gelu(model.lm_head.dense(states)))


def transform_distilbert(model: Any, states: Tensor) -> Tensor:
    return model.vocab_layer_norm(model.activation(model.vocab_transform(states)))


def transform_albert(model: Any, states: Tensor) -> Tensor:
    return model.predictions.LayerNorm(model.predictions.activation(model.predictions.dense(states)))


ROBERTA = Family(transform_roberta, first_position=after_padding)
FAMILIES = {
    "bert": Family(transform_bert, embed=embed_twice),
    "roberta": ROBERTA,
    "xlm-roberta": ROBERTA,
    "camembert": ROBERTA,
    "distilbert": Family(transform_distilbert, embed=embed_distilbert),
    "electra": Family(lambda model, states: model.generator_predictions(states)),
    "albert": Family(transform_albert),
    "modernbert": Family(lambda model, states: model.head(states), masks=sliding_masks, embed=embed_with_waves),
    # relative positions, which come from the row
    "mpnet": Family(transform_roberta, packs=False, kernels=False, first_position=after_padding),
    "deberta-v2": Family(transform_bert, packs=False, kernels=False, embed=embed_with_waves),
}
# Tried for a family that is not in the table, by what its MLM head is called.
UNKNOWN = {
    "cls": Family(transform_bert, packs=False, kernels=False),
    "lm_head": Family(transform_roberta, packs=False, kernels=False),
}


def family_of(model: PreTrainedModel) -> Family:
    """The family of an encoder or a masked language model."""
    return FAMILIES.get(model.config.model_type) or UNKNOWN["lm_head" if hasattr(model, "lm_head") else "cls"]


def max_positions(config: Any) -> int:
    """The longest sentence that an encoder can read, in tokens."""
    family = FAMILIES.get(config.model_type)
    return config.max_position_embeddings - (family.first_position(config) if family else 0)


def mlm_transform(model: PreTrainedModel, states: Tensor) -> Tensor:
    """What the output matrix of a masked language model reads; states (..., D) -> (..., E)."""
    return family_of(model).mlm_transform(model, states)


def embed(encoder: PreTrainedModel, words: Tensor, positions: Tensor) -> Tensor:
    """A decoder's input made by the encoder's embedding module.

    Args:
        words: (B, S, E), word embeddings.
        positions: (B, S), from 0.

    Returns:
        (B, S, E), or (B, S, D) where the module itself widens factorised embeddings.
    """
    family = family_of(encoder)
    return family.embed(encoder, words, positions + family.first_position(encoder.config))
