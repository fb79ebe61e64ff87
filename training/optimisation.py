"""Optimiser groups, and the learning rate and temperature as pure functions of the step."""

import torch

from model import SparseLTForPreTraining


def make_optimizer(
    model: SparseLTForPreTraining, learning_rate: float, encoder_learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with the recipe's groups: the encoder slower than what is new, biases and LayerNorms without decay.

    Each parameter is in one group; the word embeddings, which also serve as vocabulary heads, count as encoder.
    Frozen parameters are left out. A group's `peak_lr` is what `set_learning_rate` scales.
    """
    encoder = set(model.encoder.parameters())
    groups = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        in_encoder = parameter in encoder
        decayed = not (name.endswith("bias") or "norm" in name.lower())
        group = groups.setdefault((in_encoder, decayed), {"params": []})
        group["params"].append(parameter)
        group["peak_lr"] = encoder_learning_rate if in_encoder else learning_rate
        group["weight_decay"] = weight_decay if decayed else 0.0
    return torch.optim.AdamW(list(groups.values()), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def linear_schedule(step: int, warmup_steps: int, max_steps: int) -> float:
    """The share of the peak learning rate for the update of `step` (from 0): a linear rise, then a linear fall to 0."""
    return min((step + 1) / max(1, warmup_steps), (max_steps - step) / max(1, max_steps - warmup_steps), 1.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every group to a share of its peak.

    Returns:
        the learning rate of what is new, the largest of the groups.
    """
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
    return max(group["lr"] for group in optimizer.param_groups)


def temperature(step: int, decay: float = 3e-5) -> float:
    """Of the Gumbel-softmax at a step (from 0): from 5 down to 0.5, which the paper's decay reaches at step 76,752."""
    return max(5.0 * (1 - decay) ** step, 0.5)
