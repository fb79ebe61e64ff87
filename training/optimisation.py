"""The optimiser's groups and their learning rates."""

import torch

from model import SparseLTForPreTraining
from training.schedules import SCHEDULES


def make_optimizer(
    model: SparseLTForPreTraining, learning_rate: float, encoder_learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW whose groups have a `peak_lr` for the encoder or for what is new, and no decay of biases and LayerNorms.

    The word embeddings, which also serve as vocabulary heads, count as encoder. Frozen parameters get no state until
    they have a gradient.
    """
    encoder = set(model.encoder.parameters())
    groups = {}
    for name, parameter in model.named_parameters():
        in_encoder = parameter in encoder
        decayed = not (name.endswith("bias") or "norm" in name.lower())
        rate, decay = encoder_learning_rate if in_encoder else learning_rate, weight_decay if decayed else 0.0
        group = {"params": [], "in_encoder": in_encoder, "peak_lr": rate, "weight_decay": decay}
        groups.setdefault((in_encoder, decayed), group)["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, schedule: str, warmup_steps: int, frozen_steps: int, max_steps: int
) -> dict[str, float]:
    """Set and return learning_rate, of what is new, and encoder_learning_rate for the update of `step` (from 0).

    The encoder's schedule, warm-up included, begins when it is no longer frozen.
    """
    rates = {}
    for group in optimizer.param_groups:
        begin = frozen_steps if group["in_encoder"] else 0
        share = SCHEDULES[schedule](step - begin, warmup_steps, max_steps - begin) if step >= begin else 0.0
        group["lr"] = group["peak_lr"] * share
        rates["encoder_learning_rate" if group["in_encoder"] else "learning_rate"] = group["lr"]
    return rates
