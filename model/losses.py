"""The four losses as pure functions, and the one way they are averaged.

Every mean is over all real tokens of the *global* batch: the sums and the counts are added over the processes
before the division, so a loss does not depend on how the sentences are packed into rows or spread over GPUs.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

IGNORED = -100  # the label of positions that have none


class SumOverProcesses(Function):
    """All-reduce by addition whose backward adds the gradients of all processes."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        value = value.clone()
        torch.distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient)
        return gradient


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """`total / count`, both first summed over all processes; 0 where nothing was counted.

    The gradients of all processes are added on the way back, and the averaging of DistributedDataParallel divides
    by their number again: the gradient, too, is that of one process with the whole batch.

    Args:
        total: () or (C,), summed over this process' tokens.
        count: (), the number of tokens summed.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        sums = SumOverProcesses.apply(torch.cat([total.reshape(-1), count.reshape(1).to(total)]))
        total, count = sums[:-1].view_as(total), sums[-1]
    return total / count.clamp(min=1)


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the labelled tokens in nats; L_mlm and L_rec (paper equations 1 and 6).

    Args:
        logits: (N, V).
        labels: (N,), `IGNORED` where there is none.
    """
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")
    return global_mean(total, (labels != IGNORED).sum())


def mean_type_probs(type_probs: Tensor, attention_mask: Tensor) -> Tensor:
    """The type distribution of the global batch, `p` of the losses below.

    Args:
        type_probs: (B, T, C).
        attention_mask: (B, T), 0 at padding.

    Returns:
        (C,)
    """
    real = (attention_mask > 0).flatten()  # (B * T,)
    return global_mean(real.to(type_probs) @ type_probs.flatten(0, 1), real.sum())


def sparsity_loss(p: Tensor) -> Tensor:
    """L_sparse = -log p_0: the fewer tokens are typed, the smaller. `p` is (C,), see `mean_type_probs`."""
    return -p[0].log()


def entropy(p: Tensor) -> Tensor:
    """H(p) in nats; `p` is (C,)."""
    return -torch.xlogy(p, p).sum()


def kl_loss(p: Tensor, form: str) -> Tensor:
    """L_kl: how far the types are from being used alike, `KL = KL(p || uniform) = log C - H(p)`.

    Args:
        p: (C,), see `mean_type_probs`.
        form: "exponential" for `1 - exp(-KL) = (C - exp H(p)) / C`, as the published code trains it;
            "plain" for `KL`, as the paper writes it.
    """
    kl = math.log(p.numel()) - entropy(p)
    return -torch.expm1(-kl) if form == "exponential" else kl
