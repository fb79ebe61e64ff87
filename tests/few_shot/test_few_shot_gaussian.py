"""The contrastive loss and its distances against direct evaluation, pair by pair and dimension by dimension."""

import math

import pytest
import torch

from evaluations.few_shot.gaussian import GaussianHeads, contrastive_loss


def direct_loss(mu, variance, labels, distance):
    """METHOD: the loss as it is written down, O(n^2 d) memory."""
    n = len(labels)
    if distance == "kl":
        ratio = variance[:, None] / variance[None]  # (n, n, d)
        kl = 0.5 * (ratio + (mu[None] - mu[:, None]) ** 2 / variance[None] - 1 - ratio.log()).sum(-1)
        d = 0.5 * (kl + kl.T)
    else:
        unit = mu / mu.norm(dim=1, keepdim=True)
        d = ((unit[:, None] - unit[None]) ** 2).sum(-1)
    terms = []
    for i in range(n):
        positives = [j for j in range(n) if j != i and labels[j] == labels[i]]
        if positives:
            others = [j for j in range(n) if j != i]
            ratio = torch.exp(-d[i, positives]).sum() / torch.exp(-d[i, others]).sum()
            terms.append(-torch.log2(ratio) + math.log2(len(positives)))
    return torch.stack(terms).mean()


def gaussians(n, dim, spread=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(n)
    mu = torch.randn(n, dim, generator=generator, dtype=dtype).requires_grad_()
    variance = (torch.randn(n, dim, generator=generator, dtype=dtype) * spread).exp().requires_grad_()
    return mu, variance, torch.randint(4, (n,), generator=generator)


@pytest.mark.parametrize("distance", ["kl", "euclidean"])
@pytest.mark.parametrize(("n", "dim"), [(2, 3), (23, 8), (60, 16)])
def test_loss_and_gradient_equal_direct_evaluation(n, dim, distance):
    mu, variance, labels = gaussians(n, dim)
    labels[:2] = 0  # at least one pair
    loss, direct = contrastive_loss(mu, variance, labels, distance), direct_loss(mu, variance, labels, distance)
    assert loss.item() == pytest.approx(direct.item(), rel=1e-6, abs=1e-9)
    inputs = (mu, variance) if distance == "kl" else (mu,)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(direct, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-14, 1e8])
def test_finite_for_tiny_and_huge_variances_and_many_tokens(scale):
    mu, variance, labels = gaussians(2000, 8, spread=3.0, dtype=torch.float32)
    variance = (variance.detach() * scale).requires_grad_()
    loss = contrastive_loss(mu, variance, labels)
    loss.backward()
    assert loss.isfinite() and loss >= 0
    assert mu.grad.isfinite().all() and variance.grad.isfinite().all()


def test_memory_is_quadratic_in_tokens_alone():
    """Nothing of n * n * d numbers is kept for the backward pass."""
    n, dim, sizes = 100, 128, []

    def note(tensor):
        sizes.append(tensor.numel())
        return tensor

    mu, variance, labels = gaussians(n, dim)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        contrastive_loss(mu, variance, labels).backward()
    assert max(sizes) <= max(n * n, n * dim)


def test_tokens_without_a_positive_do_not_count():
    mu, variance, labels = gaussians(12, 4)
    labels = torch.arange(12)
    loss = contrastive_loss(mu, variance, labels)
    loss.backward()
    assert loss == 0 and not mu.grad.any() and not variance.grad.any()


def test_heads():
    heads = GaussianHeads(6, 3)
    hidden = torch.randn(4, 6) * 5
    mu, variance = heads(hidden)
    positive = hidden.clamp(min=0)
    torch.testing.assert_close(mu, positive @ heads.mu.weight.T + heads.mu.bias)
    x = positive @ heads.sigma.weight.T + heads.sigma.bias
    torch.testing.assert_close(variance, torch.where(x > 0, x + 1, x.exp()))


def test_heads_that_saturate_leave_a_variance_to_divide_by():
    heads = GaussianHeads(6, 3)
    with torch.no_grad():
        heads.sigma.bias.fill_(-1000)
    hidden = torch.randn(4, 6, requires_grad=True)
    mu, variance = heads(hidden)
    assert (variance > 0).all()
    loss = contrastive_loss(mu, variance, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.isfinite() and hidden.grad.isfinite().all()
