"""Dropout and attention that cost a CPU a third of what torch's do in training; GPUs keep torch's own.

Where the time goes on a CPU: torch draws a random number for each element of a dropout mask, its attention with
dropout passes over the (T, T) weights ten times, and without dropout its bfloat16 kernel is slower than two products.
All are exact here; `benchmarks/README.md` has the figures.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

IMPLEMENTATION = "sparse_lt"  # the name of `attention` among transformers' attention implementations


def dropout_noise(like: Tensor, p: float) -> Tensor:
    """Zeros with probability `p` (to the nearest 1 / 65,536), 1 / (1 - p) elsewhere, of the shape of `like`.

    Four elements share the 64 bits of one random number. Where bfloat16 rounds 1 / (1 - p), `p` follows it (0.1
    becomes 0.0986), so that the mean stays 1.
    """
    scale = torch.tensor(1 / (1 - p), dtype=like.dtype).item()
    numbers = torch.empty(-(-like.numel() // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
    bits = numbers.view(torch.int16)[: like.numel()].view(like.shape)  # uniform in -32768 ... 32767
    return bits.ge(round((1 - 1 / scale) * 2**16) - 2**15).to(like.dtype).mul_(scale)


class Dropout(nn.Dropout):
    """nn.Dropout with `dropout_noise` on CPUs."""

    def forward(self, hidden: Tensor) -> Tensor:
        if self.training and self.p > 0 and hidden.device.type == "cpu":
            return hidden * dropout_noise(hidden, self.p)
        return F.dropout(hidden, self.p, self.training)


def use_cpu_dropout(module: nn.Module) -> None:
    """Exchange every nn.Dropout below a module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p).train(child.training))


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float = 1.0,
    **options,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention, as transformers calls it.

    Args:
        query: (B, H, S, D / H).
        key, value: (B, H, T, D / H).
        attention_mask: (B or 1, 1, S, T) bool, True where a query may look; None: everywhere.

    Returns:
        (B, S, H, D / H), None
    """
    if query.device.type != "cpu" or (dropout == 0 and query.dtype != torch.bfloat16):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    scores = (query * scaling) @ key.transpose(2, 3)  # (B, H, S, T)
    if attention_mask is not None:
        scores += torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, -torch.inf)
    weights = scores.softmax(-1)
    if dropout:
        weights = weights * dropout_noise(weights, dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(IMPLEMENTATION, attention)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
