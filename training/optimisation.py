"""Optimiser groups, and the learning rate and temperature as pure functions of the step."""

import torch

from model import SparseLTForPreTraining


def make_optimizer(
    model: SparseLTForPreTraining, learning_rate: float, encoder_learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with the recipe's groups: the encoder slower than what is new, biases and LayerNorms without decay.

    Each parameter is in one group; the word embeddings, which also serve as vocabulary heads, count as encoder.
    Frozen parameters get no state until they have a gradient. `set_learning_rate` reads a group's `peak_lr` and
    `in_encoder`.
    """
    encoder = set(model.encoder.parameters())
    groups = {}
    for name, parameter in model.named_parameters():
        in_encoder = parameter in encoder
        decayed = not (name.endswith("bias") or "norm" in name.lower())
        group = groups.setdefault((in_encoder, decayed), {"params": [], "in_encoder": in_encoder})
        group["params"].append(parameter)
        group["peak_lr"] = encoder_learning_rate if in_encoder else learning_rate
        group["weight_decay"] = weight_decay if decayed else 0.0
    return torch.optim.AdamW(list(groups.values()), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def linear_schedule(step: int, warmup_steps: int, max_steps: int) -> float:
    """The share of the peak learning rate for the update of `step` (from 0): a linear rise, then a linear fall to 0."""
    return min((step + 1) / max(1, warmup_steps), (max_steps - step) / max(1, max_steps - warmup_steps), 1.0)


def wsd_schedule(step: int, warmup_steps: int, max_steps: int, decay: float = 0.1) -> float:
    """The same for warm-up, stable, decay: a linear rise, a constant rate, a linear fall to 0 over the last tenth.

    A run read before its fall is a shorter run, but for the fall (Hu et al. 2024, section 4).
    """
    return min((step + 1) / max(1, warmup_steps), (max_steps - step) / max(1, round(decay * max_steps)), 1.0)


SCHEDULES = {"linear": linear_schedule, "wsd": wsd_schedule}


def set_learning_rate(
    optimizer: torch.optim.Optimizer, step: int, schedule: str, warmup_steps: int, frozen_steps: int, max_steps: int
) -> dict[str, float]:
    """Set every group for the update of `step` (from 0). The encoder's schedule, warm-up included, begins when it is no
    longer frozen.

    Returns:
        learning_rate, of what is new, and encoder_learning_rate.
    """
    rates = {}
    for group in optimizer.param_groups:
        begin = frozen_steps if group["in_encoder"] else 0
        share = SCHEDULES[schedule](step - begin, warmup_steps, max_steps - begin) if step >= begin else 0.0
        group["lr"] = group["peak_lr"] * share
        rates["encoder_learning_rate" if group["in_encoder"] else "learning_rate"] = group["lr"]
    return rates


def temperature(step: int, max_steps: int, start: float = 5.0, end: float = 0.5, share: float = 0.7675) -> float:
    """Of the Gumbel-softmax at a step (from 0): a geometric fall from `start` that reaches `end` at a share of the run.

        tau(step) = max(start * (end / start)^(step / (share * max_steps)), end)

    At 100,000 steps this is the paper's `max(5 * (1 - 3e-5)^step, 0.5)`, which reaches 0.5 at step 76,752; in a shorter
    run the paper's own formula would leave the types soft to the end.
    """
    return max(start * (end / start) ** (step / (share * max_steps)), end)


def ramp(step: int, ramp_steps: float) -> float:
    """The share of a loss' weight at a step (from 0): a linear rise from 0 over `ramp_steps`, then 1."""
    return min(1.0, step / ramp_steps) if ramp_steps > 0 else 1.0
