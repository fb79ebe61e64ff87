"""What sets one family of encoders apart from another, one entry each; everything else asks here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from encoders.packing import packed_batches, same_sentence, sentence_positions
from encoders.words import Encoded


@dataclass(frozen=True)
class Family:
    """How a family of masked language models is used.

    Args:
        mlm_transform: (masked language model, states (..., D)) -> what its output matrix reads, (..., E): the part of
            the MLM head in front of the matrix.
    """

    mlm_transform: Callable[[Any, Tensor], Tensor]


FAMILIES = {
    "bert": Family(mlm_transform=lambda model, states: model.cls.predictions.transform(states)),
}


def encode(
    encoder: PreTrainedModel,
    attention_mask: Tensor,
    input_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    **options: Any,
) -> Any:
    """Run an encoder over packed rows: tokens see their own sentence only, and positions restart in each.

    Args:
        encoder: without its head.
        attention_mask: (R, W), 1, 2, 3, ... for the sentences of a row, 0 at padding; an ordinary mask of ones is the
            case of one sentence a row.
        input_ids: (R, W), or inputs_embeds: (R, W, E), word embeddings.
        options: others that the encoder takes, as `output_hidden_states`.

    Returns:
        transformers' `BaseModelOutput`.
    """
    return encoder(
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        attention_mask=same_sentence(attention_mask, attention_mask),
        position_ids=sentence_positions(attention_mask),
        **options,
    )


@torch.no_grad()
def token_states(
    encoder: PreTrainedModel, sentences: Sequence[Encoded], batch_size: int = 32, description: str = "encoding"
) -> Tensor:
    """The last states of the tokens that stand at the sentences' `first`, in their order; (N, D) on the CPU."""
    batches = packed_batches(sentences, encoder.config.pad_token_id, batch_size, encoder.device, description)
    states = [
        encode(encoder, batch.attention_mask, batch.input_ids).last_hidden_state.flatten(0, 1)[batch.first].cpu()
        for batch in batches
    ]
    return torch.cat(states)


def mlm_transform(model: PreTrainedModel, states: Tensor) -> Tensor:
    """What the output matrix of a masked language model reads; states (..., D) -> (..., E)."""
    return FAMILIES[model.config.model_type].mlm_transform(model, states)
