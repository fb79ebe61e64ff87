"""What can be known to go wrong before the first step, looked at and said in one line each."""

import shutil
import tempfile
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from model import SparseLTForPreTraining
from training.checkpoints import saved_steps

GIB = 2**30


def check_writable(run_directory: Path) -> str:
    """Create the run's directory and write a byte into it.

    Raises:
        UserError: that is not possible.
    """
    try:
        run_directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run_directory):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {run_directory}: {error.strerror}") from None
    return f"{run_directory} is writable"


def check_disk(run_directory: Path, model: torch.nn.Module, keep_last: int) -> str:
    """Room for the checkpoints that are kept, the one being written beside them, and the final model.

    What a resumed run's checkpoints take already counts as room for the later ones.

    Raises:
        UserError: the disk has less.
    """
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    needed = weights * (3 * (keep_last + 1) + 1)  # a checkpoint holds the weights and AdamW's two moments
    held = sum(file.stat().st_size for _, directory in saved_steps(run_directory) for file in directory.iterdir())
    needed = max(needed - held, 3 * weights)
    free = shutil.disk_usage(run_directory).free
    if free < needed:
        raise UserError(
            f"{run_directory} has {free / GIB:.1f} GiB free, but {keep_last} checkpoints, one more while it is written "
            f"and the final model take {needed / GIB:.1f} GiB more; free some space or lower --keep_last"
        )
    return f"checkpoints will take up to {needed / GIB:.1f} GiB more, {free / GIB:.1f} GiB are free"


def check_memory(model: SparseLTForPreTraining, tokens: int, device: torch.device) -> str:
    """Room for weights, gradients, AdamW's moments and the activations of a batch of `tokens` tokens.

    Raises:
        UserError: the machine or the GPU has less.
    """
    config = model.config.encoder
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # Kept for the backward pass, per token: in each layer and for both encoder passes about 20 hidden-sized vectors,
    # two intermediate-sized ones and two rows of attention weights per head; three times a row of logits.
    per_layer = 20 * config.hidden_size + 2 * config.intermediate_size + 2 * 128 * config.num_attention_heads
    activations = tokens * (2 * config.num_hidden_layers * per_layer + 3 * config.vocab_size)
    needed = 4 * (4 * parameters + activations)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if free < needed:
        raise UserError(
            f"{free / GIB:.1f} GiB of memory are free on {device}, but training takes about {needed / GIB:.1f} GiB; "
            "lower --batch_size (and raise --gradient_accumulation_steps) or --max_length"
        )
    return f"training takes about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} GiB are free on {device}"


def check_tokenizer(model: SparseLTForPreTraining, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """The encoder embeds every id of the tokenizer and has the positions for `max_length`.

    Raises:
        UserError: it does not, or the tokenizer lacks BERT's special tokens.
    """
    config = model.config.encoder
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("cls", "sep", "pad", "mask")}
    missing = [name for name, token_id in special.items() if token_id is None]
    if missing:
        raise UserError(f"the encoder's tokenizer has no {' and no '.join(missing)} token; it is not a BERT's")
    if len(tokenizer) > config.vocab_size:
        raise UserError(f"the tokenizer has {len(tokenizer):,} entries but the encoder embeds {config.vocab_size:,}")
    if special["pad"] != config.pad_token_id:
        raise UserError(f"the tokenizer pads with id {special['pad']} but the encoder with {config.pad_token_id}")
    if max_length > config.max_position_embeddings:
        raise UserError(f"--max_length {max_length} exceeds the encoder's {config.max_position_embeddings} positions")
    return f"the tokenizer's {len(tokenizer):,} entries match the encoder's {config.vocab_size:,}"
