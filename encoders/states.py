"""Packed sentences -> the states of an encoder."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from common.errors import note
from encoders.families import family_of
from encoders.packing import packed_batches, same_sentence, sentence_positions
from encoders.words import Encoded

TOLERANCE = 1e-4  # of packed states against those of sentences alone, relative to their size, in float32


def encode(
    encoder: PreTrainedModel,
    attention_mask: Tensor,
    input_ids: Tensor | None = None,
    inputs_embeds: Tensor | None = None,
    **options: Any,
) -> Any:
    """Run an encoder over packed rows: tokens see their own sentence only, and positions restart in each.

    An encoder that cannot be packed (see `packs`) gets the sentences one a row, and its states are laid out as the
    rows were.

    Args:
        encoder: without its head.
        attention_mask: (R, W), 1, 2, 3, ... for the sentences of a row, 0 at padding; an ordinary mask of ones is the
            case of one sentence a row.
        input_ids: (R, W), or inputs_embeds: (R, W, E), word embeddings.
        options: others that the encoder takes, as `output_hidden_states`.

    Returns:
        transformers' `BaseModelOutput`.
    """
    run = _encode_packed if packs(encoder) else _encode_alone
    return run(encoder, attention_mask, input_ids=input_ids, inputs_embeds=inputs_embeds, **options)


def _encode_packed(encoder: PreTrainedModel, attention_mask: Tensor, **options: Any) -> Any:
    family, positions = family_of(encoder), sentence_positions(attention_mask)
    return encoder(
        attention_mask=family.masks(encoder.config, same_sentence(attention_mask, attention_mask), positions),
        position_ids=positions + family.first_position(encoder.config),
        **options,
    )


def _encode_alone(
    encoder: PreTrainedModel,
    attention_mask: Tensor,
    input_ids: Tensor | None,
    inputs_embeds: Tensor | None,
    **options: Any,
) -> BaseModelOutput:
    real = attention_mask > 0  # (R, W)
    positions = sentence_positions(attention_mask)[real]  # (n,)
    sentences = (positions == 0).cumsum(0) - 1  # (n,) which sentence a token belongs to
    shape = (int(sentences[-1]) + 1, int(positions.max()) + 1)  # N sentences of at most L tokens

    def alone(values: Tensor, fill: int = 0) -> Tensor:  # (R, W, ...) -> (N, L, ...)
        return values.new_full((*shape, *values.shape[2:]), fill).index_put((sentences, positions), values[real])

    def in_rows(states: Tensor) -> Tensor:  # (N, L, D) -> (R, W, D)
        rows = states.new_zeros(*real.shape, states.shape[-1])
        return rows.index_put((real,), states[sentences, positions])

    if input_ids is not None:
        options["input_ids"] = alone(input_ids, encoder.config.pad_token_id or 0)
    if inputs_embeds is not None:
        options["inputs_embeds"] = alone(inputs_embeds)
    output = encoder(attention_mask=alone(torch.ones_like(attention_mask)), **options)
    hidden_states = getattr(output, "hidden_states", None)
    return BaseModelOutput(
        last_hidden_state=in_rows(output.last_hidden_state),
        hidden_states=tuple(map(in_rows, hidden_states)) if hidden_states is not None else None,
    )


@torch.no_grad()
def packs(encoder: Any) -> bool:
    """Whether several sentences may share a row, because the states are then those of each sentence alone.

    Tried once per encoder, on two short sentences in float32, where its family says that it should be so.
    """
    if not hasattr(encoder, "packs_sentences"):
        encoder.packs_sentences = family_of(encoder).packs and _packing_is_exact(encoder)
        if not encoder.packs_sentences:
            family = encoder.config.model_type
            note(
                f"sentences run one a row, which takes longer: states of `{family}` may change where several share one"
            )
    return encoder.packs_sentences


def _packing_is_exact(encoder: PreTrainedModel) -> bool:
    training, device = encoder.training, encoder.device
    encoder.eval()
    ids = (torch.arange(20, device=device) * 7919 % encoder.config.vocab_size)[None]  # (1, 20), any
    numbers = torch.tensor([[1] * 12 + [2] * 8], device=device)

    def states(mask: Tensor, ids: Tensor) -> Tensor:  # (1, T) -> (T, D)
        return _encode_packed(encoder, mask, input_ids=ids).last_hidden_state[0]

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # the two differ by more than the tolerance in TF32
    with torch.autocast(device.type, enabled=False):
        packed = states(numbers, ids)
        alone = torch.cat([states(torch.ones_like(part), part) for part in ids.split([12, 8], dim=1)])
    torch.set_float32_matmul_precision(precision)
    encoder.train(training)
    return bool((packed - alone).abs().max() <= TOLERANCE * alone.abs().max().clamp(min=1))


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
