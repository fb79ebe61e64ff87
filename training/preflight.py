"""What can be known to go wrong before the first step."""

import shutil
from pathlib import Path

import psutil
import torch

from common.errors import UserError
from model import SparseLTForPreTraining
from training.checkpoints import saved_steps

GIB = 2**30


def check_disk(run_directory: Path, model: torch.nn.Module, keep_last: int) -> None:
    """See that there is room for the checkpoints that are kept, the one being written beside them, and the final model.

    What a resumed run's checkpoints take already counts as room for the later ones.

    Raises:
        UserError: the disk has less, or a checkpoint cannot be read just now.
    """
    if not run_directory.exists():  # on this machine: another's process writes the checkpoints
        return
    weights = sum(parameter.numel() * 4 for parameter in model.parameters())
    needed = weights * (3 * (keep_last + 1) + 1)  # a checkpoint holds the weights and AdamW's two moments
    try:
        held = sum(file.stat().st_size for _, directory in saved_steps(run_directory) for file in directory.iterdir())
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}; nothing was changed") from None
    needed = max(needed - held, 3 * weights)
    free = shutil.disk_usage(run_directory).free
    if free < needed:
        raise UserError(
            f"{run_directory} has {free / GIB:.1f} GiB free, but {keep_last} checkpoints, one more while it is written "
            f"and the final model take {needed / GIB:.1f} GiB more; free some space or lower --keep_last"
        )


def memory_warning(model: SparseLTForPreTraining, tokens: int, device: torch.device) -> str | None:
    """A sentence if training on batches of `tokens` tokens seems to take more memory than is free on the machine or the
    GPU. It is a guess, so that nothing is refused for it."""
    config = model.config.encoder
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # Kept for the backward pass, per token: in each layer and for both encoder passes about 20 hidden-sized vectors,
    # two intermediate-sized ones and two rows of attention weights per head; three times a row of logits.
    intermediate = getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_layer = 20 * config.hidden_size + 2 * intermediate + 2 * 128 * config.num_attention_heads
    activations = tokens * (2 * config.num_hidden_layers * per_layer + 3 * config.vocab_size)
    needed = 4 * (4 * parameters + activations)  # also of gradients and AdamW's moments
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if free >= needed:
        return None
    return (
        f"{free / GIB:.1f} GiB of memory are free on {device}, but training may take {needed / GIB:.1f} GiB; "
        "if it does, lower --batch_size (and raise --gradient_accumulation_steps) or --max_length"
    )
