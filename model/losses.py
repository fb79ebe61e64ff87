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

from encoders import IGNORED


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
    """`total / count`, this process' own sums, first added up over all processes; 0 where nothing was counted.

    `total` is () or (C,), `count` ().

    The gradients of all processes are added on the way back, and the averaging of DistributedDataParallel divides
    by their number again: the gradient, too, is that of one process with the whole batch.
    """
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        sums = SumOverProcesses.apply(torch.cat([total.reshape(-1), count.reshape(1).to(total)]))
        total, count = sums[:-1].view_as(total), sums[-1]
    return total / count.clamp(min=1)


class VocabularyCrossEntropy(Function):
    """Summed cross entropy of `softmax(hidden @ weight.T + bias)`, a block of rows at a time.

    The logits are by far the largest tensor of a step, and are needed only to be turned into their own gradient.
    So a block of rows is projected, normalised, turned into the gradient in place and multiplied out, all in the
    forward pass; the backward pass only scales the results.
    """

    @staticmethod
    def forward(context: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
        # hidden (N, D), weight (V, D), bias (V,), labels (N,) -> ()
        device, vocabulary = hidden.device.type, weight.shape[0]
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        hidden, words, biases = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        # Products of odd length take half as long again, so logits have rows of whole cache lines; the columns beyond
        # the vocabulary have probability 0. A GPU gets words for them, too, which would cost a CPU a copy of all words;
        # what is traced cannot write into parts of rows.
        fill = -vocabulary % 64
        if device != "cpu" or torch.compiler.is_compiling():
            words, biases = F.pad(words, (0, 0, 0, fill)), F.pad(biases, (0, fill), value=-torch.inf)
        limit = 2**23 if device == "cpu" else 2**29  # logits of a block; on a CPU 32 MB
        blocks = 1 if torch.compiler.is_compiling() else math.ceil(len(hidden) * (vocabulary + fill) / limit)
        block = math.ceil(len(hidden) / max(1, blocks))
        buffer = hidden.new_empty(block, vocabulary + fill)
        total = torch.zeros((), device=hidden.device)
        grad_hidden, grad_bias = torch.empty_like(hidden), torch.zeros_like(bias)
        grad_weight = torch.zeros_like(words) if context.needs_input_grad[1] else None  # frozen word embeddings
        for number in range(blocks):
            rows = slice(number * block, (number + 1) * block)
            counted = (labels[rows] != IGNORED)[:, None]  # (n, 1)
            label = labels[rows][:, None].where(counted, 0)  # (n, 1)
            logits = buffer[: len(label)]  # (n, V and a little more)
            logits[:, len(words) :].fill_(-torch.inf)
            torch.addmm(biases, hidden[rows], words.T, out=logits[:, : len(words)])
            logits = logits.float()
            of_label, largest = logits.gather(1, label), logits.amax(1, keepdim=True)
            gradient = torch.softmax(logits, 1, out=logits)
            # The largest probability is at least 1 / V, so that its logarithm tells the normaliser safely.
            normaliser = largest - gradient.amax(1, keepdim=True).log()
            total += ((normaliser - of_label) * counted).sum()
            gradient.scatter_add_(1, label, torch.full_like(of_label, -1.0)).mul_(counted)
            gradient = gradient.to(dtype)[:, : len(words)]
            torch.mm(gradient, words, out=grad_hidden[rows])
            if grad_weight is not None:
                grad_weight.addmm_(gradient.T, hidden[rows])
            grad_bias += gradient.sum(0)[:vocabulary]
        context.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    def backward(context: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # In place: the weights' gradient is large. Autograd refuses to go back a second time.
        grad_hidden, grad_weight, grad_bias = context.saved_tensors
        if grad_weight is not None:
            grad_weight = grad_weight[: len(grad_bias)].mul_(upstream).to(grad_bias.dtype)
        return grad_hidden.mul_(upstream), grad_weight, grad_bias.mul_(upstream), None


def vocabulary_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy of the labelled tokens in nats; L_mlm and L_rec (paper section 3).

    Args:
        hidden: (N, D) what the vocabulary head reads.
        weight, bias: (V, D), the word embeddings, and (V,).
        labels: (N,), `IGNORED` where there is none.
    """
    if torch.is_grad_enabled():
        total = VocabularyCrossEntropy.apply(hidden, weight, bias, labels)
    else:
        total = F.cross_entropy(F.linear(hidden, weight, bias).float(), labels, ignore_index=IGNORED, reduction="sum")
    return global_mean(total, (labels != IGNORED).sum())


def sampled_cross_entropy(hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, number: int) -> Tensor:
    """An estimate of `vocabulary_cross_entropy` over the labels that occur and `number` other words drawn at random.

    The drawn words stand for all the others: their share of the softmax's normaliser is scaled up by how many there
    are (Jean et al., ACL 2015, section 3). Where the word embeddings are frozen this saves half of a step on a CPU.
    """
    vocabulary = len(bias)
    own = labels[labels != IGNORED].unique()  # (n,) ascending
    drawn = torch.randperm(vocabulary, device=labels.device)[:number]
    drawn = drawn[~torch.isin(drawn, own)]  # (m,)
    words = torch.cat([own, drawn])
    logits = F.linear(hidden, weight[words], bias[words]).float()  # (N, n + m)
    scale = torch.zeros(len(words), device=logits.device)
    scale[len(own) :] = math.log(max(1, vocabulary - len(own)) / max(1, len(drawn)))
    places = torch.searchsorted(own, labels).where(labels != IGNORED, IGNORED)
    total = F.cross_entropy(logits + scale, places, ignore_index=IGNORED, reduction="sum")
    return global_mean(total, (labels != IGNORED).sum())


def mean_type_probs(type_probs: Tensor, attention_mask: Tensor) -> Tensor:
    """The type distribution of the global batch, `p` of the losses below; (B, T, C) and (B, T) -> (C,)."""
    real = attention_mask > 0  # (B, T)
    # A sum, because a matrix product would be rounded to bfloat16 or TF32 where those are on.
    return global_mean((type_probs * real[..., None]).sum((0, 1)), real.sum())


def sparsity_loss(p: Tensor) -> Tensor:
    """L_sparse = -log p_0: the fewer tokens are typed, the smaller. `p` is (C,), see `mean_type_probs`."""
    return -p[0].log()


def entropy(p: Tensor) -> Tensor:
    """H(p) in nats; `p` is (C,)."""
    # The clamp keeps the gradient of a type whose probability has underflowed to 0 finite; xlogy's is NaN there.
    return -(p * p.clamp(min=torch.finfo(p.dtype).tiny).log()).sum()


def kl_loss(p: Tensor, form: str) -> Tensor:
    """L_kl: how far the types are from being used alike, `KL = KL(p || uniform) = log C - H(p)`; `p` is (C,).

    The form "exponential" is `1 - exp(-KL) = (C - exp H(p)) / C`, as the published code trains it, "plain" is `KL`, as
    the paper writes it.
    """
    kl = math.log(p.numel()) - entropy(p)
    return -torch.expm1(-kl) if form == "exponential" else kl
