"""Tokens as Gaussians: the two heads, the distances between tokens and the contrastive loss (Das et al. 2022, 3.2)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DISTANCES = ("kl", "euclidean")


class GaussianHeads(nn.Module):
    """A diagonal Gaussian per token: `mu = W_mu relu(h) + b`, `variance = elu(W_s relu(h) + b) + 1 + 1e-14`."""

    def __init__(self, hidden_size: int, dimension: int):
        super().__init__()
        self.mu = nn.Linear(hidden_size, dimension)
        self.sigma = nn.Linear(hidden_size, dimension)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (n, D) to means and variances, (n, dimension) each."""
        hidden = F.relu(hidden)
        return self.mu(hidden), F.elu(self.sigma(hidden)) + 1 + 1e-14  # in this order: in float32, 1 + 1e-14 = 1


def pairwise_kl(mu: Tensor, variance: Tensor) -> Tensor:
    """Symmetric KL divergences `d(i, j) = (KL(i||j) + KL(j||i)) / 2` of diagonal Gaussians, in O(n^2) memory.

    The logarithms of the two directions cancel, and the rest expands into matrix products:
    `d = (A + A^T - 2 dim) / 4` with `A(i, j) = sum_d [variance_i + (mu_i - mu_j)^2] / variance_j`.

    Means and variances (n, dim) each -> (n, n), zero on the diagonal up to rounding.
    """
    precision = 1 / variance  # (n, dim)
    weighted = mu * precision
    a = (variance + mu**2) @ precision.T - 2 * mu @ weighted.T + (mu * weighted).sum(1)  # (n, n)
    return (a + a.T - 2 * mu.shape[1]) / 4


def contrastive_loss(mu: Tensor, variance: Tensor, labels: Tensor, distance: str = "kl") -> Tensor:
    """The loss of CONTaiNER: pull tokens of one label together, O being a label like any other.

    With `s_ij = -d(i, j)`, the mean over the tokens i that have a positive (another token of their label) of
    `log2 sum_{j != i} exp(s_ij) - log2 sum_{positives j} exp(s_ij) + log2 #positives`; zero, with zero gradient, if
    none has. In float64: the expanded squares cancel where a variance is small, which costs nothing beside the encoder.

    Args:
        mu, variance: (n, dim) of the tokens; `labels`: (n,).
        distance: `kl` (the paper's) or `euclidean` (its ablation: squared, of normalised means, without variances).
    """
    mu, variance = mu.double(), variance.double()
    if distance == "kl":
        scores = -pairwise_kl(mu, variance)  # (n, n)
    else:
        unit = F.normalize(mu, dim=1)
        scores = 2 * unit @ unit.T - 2  # (n, n): -|u - v|^2
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = (labels[:, None] == labels) & ~itself  # (n, n)
    anchors = positive.any(1)
    if not anchors.any():
        return 0 * (mu.sum() + variance.sum())
    scores, positive = scores.masked_fill(itself, -torch.inf)[anchors], positive[anchors]
    among_all = scores.logsumexp(1)
    among_positives = scores.masked_fill(~positive, -torch.inf).logsumexp(1)
    return (among_all - among_positives + positive.sum(1).log()).mean() / math.log(2)
